//! `TokenRequest` at the fake server, in JSON and in Kubernetes' protobuf: read, answered and, for tests, written.

use serde_json::Value;
use serde_json::json;

use super::answer::Ask;
use super::answer::Whole;
use super::answer::details;
use super::answer::failure;
use super::answer::not_found;
use super::kind::PODS;
use super::store::Store;

/// `Content-Type` of protobuf.
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// What stands in every token that is given.
pub const PLANTED: &str = "planted-token";

/// When tokens end that live: seconds since 1970, and how that is written.
pub const LIVING: (u64, &str) = (3_976_214_400, "2096-01-01T00:00:00Z");
/// When tokens end that are over.
pub const ENDED: (u64, &str) = (978_307_200, "2001-01-01T00:00:00Z");

/// What a token is asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `spec.audiences`
    pub audiences: Vec<String>,
    /// `spec.expirationSeconds`
    pub seconds: u64,
    /// `spec.boundObjectRef`: `kind`, `apiVersion`, `name`, `uid`.
    pub bound: Option<[String; 4]>,
}

impl Request {
    /// What a kubelet asks for a pod.
    pub fn of_pod(name: &str, uid: &str) -> Self {
        Self {
            audiences: Vec::new(),
            seconds: 3607,
            bound: Some(["Pod", "v1", name, uid].map(str::to_owned)),
        }
    }

    /// The body in JSON.
    pub fn json(&self) -> Vec<u8> {
        let body = json!({
            "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"creationTimestamp": null}, "spec": self.spec(),
            "status": {"token": "", "expirationTimestamp": null},
        });
        body.to_string().into_bytes()
    }

    /// The body in protobuf.
    pub fn protobuf(&self) -> Vec<u8> {
        enveloped(
            &[
                delimited(1, b""),
                delimited(2, &self.message()),
                delimited(3, b"\x12\0"),
            ]
            .concat(),
        )
    }

    fn spec(&self) -> Value {
        let bound = self.bound.as_ref().map(|[kind, version, name, uid]| {
            json!({"kind": kind, "apiVersion": version, "name": name, "uid": uid})
        });
        json!({"audiences": self.audiences, "expirationSeconds": self.seconds, "boundObjectRef": bound})
    }

    fn message(&self) -> Vec<u8> {
        let mut spec: Vec<u8> = self
            .audiences
            .iter()
            .flat_map(|audience| delimited(1, audience.as_bytes()))
            .collect();
        if let Some(bound) = &self.bound {
            let bound = (1..).zip(bound);
            let bound: Vec<u8> = bound
                .flat_map(|(n, text)| delimited(n, text.as_bytes()))
                .collect();
            spec.extend(delimited(3, &bound));
        }
        spec.push(4 << 3);
        spec.extend(varint(self.seconds));
        spec
    }

    fn read(ask: &Ask) -> Option<Self> {
        let mut request = Self::default();
        let own = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        if ask.content_type == PROTOBUF {
            let unknown = ask.body.strip_prefix(b"k8s\0")?;
            let raw = find(unknown, 2)?;
            for (number, value) in fields(find(&raw, 2)?.as_slice())? {
                match number {
                    1 => request.audiences.push(own(&value)?),
                    3 => {
                        let part = |n| find(&value, n).and_then(|bytes| own(&bytes));
                        request.bound = Some([part(1)?, part(2)?, part(3)?, part(4)?]);
                    }
                    4 => request.seconds = u64::from_le_bytes(value.try_into().ok()?),
                    _ => {}
                }
            }
            return Some(request);
        }
        let body: Value = serde_json::from_slice(&ask.body).ok()?;
        let spec = &body["spec"];
        let audiences = spec["audiences"].as_array().into_iter().flatten();
        request.audiences = audiences
            .filter_map(|a| a.as_str().map(str::to_owned))
            .collect();
        request.seconds = spec["expirationSeconds"].as_u64().unwrap_or(3600);
        if spec["boundObjectRef"].is_object() {
            let part = |name: &str| spec["boundObjectRef"][name].as_str().map(str::to_owned);
            request.bound = Some([
                part("kind")?,
                part("apiVersion")?,
                part("name")?,
                part("uid")?,
            ]);
        }
        Some(request)
    }
}

/// Answers a request for a token; a pod that it is bound to must be there.
pub fn answer(
    store: &mut Store,
    ask: &Ask,
    namespace: &str,
    service_account: &str,
) -> Result<Whole, Whole> {
    let Some(request) = Request::read(ask) else {
        return Err(failure(
            400,
            "BadRequest",
            "the object provided is unrecognized",
            None,
        ));
    };
    if let Some([kind, _, name, uid]) = &request.bound
        && kind == "Pod"
    {
        let Some(pod) = store.find(&PODS, namespace, name) else {
            return Err(not_found(&PODS, name));
        };
        if pod.value["metadata"]["uid"] != **uid {
            let message = format!(
                "Operation cannot be fulfilled on pods \"{name}\": the UID in the bound object reference ({uid}) does not \
                 match the UID in record. The object might have been deleted and then recreated"
            );
            return Err(failure(
                409,
                "Conflict",
                &message,
                Some(details(&PODS, name)),
            ));
        }
    }
    let (token, (seconds, text)) = (
        format!(
            "{PLANTED}-{}.{namespace}.{service_account}",
            store.tokens.given
        ),
        store.tokens.end,
    );
    store.tokens.given += 1;
    if !ask.accept.starts_with(PROTOBUF) {
        let body = json!({
            "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"name": service_account, "namespace": namespace}, "spec": request.spec(),
            "status": {"token": token, "expirationTimestamp": text},
        });
        return Ok(Whole::json(201, format!("{body}\n")));
    }
    let time = [vec![1 << 3], varint(seconds)].concat();
    let status = [delimited(1, token.as_bytes()), delimited(2, &time)].concat();
    let message = [
        delimited(1, &delimited(1, service_account.as_bytes())),
        delimited(2, &request.message()),
        delimited(3, &status),
    ];
    Ok(Whole {
        status: 201,
        headers: vec![("content-type", PROTOBUF.into())],
        body: enveloped(&message.concat()),
    })
}

/// How tokens are given.
#[derive(Debug)]
pub struct Tokens {
    /// How many were given.
    pub given: u64,
    /// When the next ones end.
    pub end: (u64, &'static str),
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            given: 0,
            end: LIVING,
        }
    }
}

fn enveloped(message: &[u8]) -> Vec<u8> {
    let kind = [
        delimited(1, b"authentication.k8s.io/v1"),
        delimited(2, b"TokenRequest"),
    ];
    let unknown = [
        delimited(1, &kind.concat()),
        delimited(2, message),
        delimited(3, b""),
        delimited(4, b""),
    ];
    [b"k8s\0", unknown.concat().as_slice()].concat()
}

fn delimited(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2][..], &varint(bytes.len() as u64), bytes].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 127 {
        bytes.push(value as u8 | 128);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// The fields of a message: numbers as eight bytes, the rest as it is.
fn fields(mut rest: &[u8]) -> Option<Vec<(u64, Vec<u8>)>> {
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let tag = read_varint(&mut rest)?;
        let value = match tag & 7 {
            0 => read_varint(&mut rest)?.to_le_bytes().to_vec(),
            2 => {
                let len = read_varint(&mut rest)?;
                let (value, behind) = rest.split_at_checked(len as usize)?;
                rest = behind;
                value.to_vec()
            }
            _ => return None,
        };
        fields.push((tag >> 3, value));
    }
    Some(fields)
}

fn find(message: &[u8], number: u64) -> Option<Vec<u8>> {
    let found = fields(message)?.into_iter().find(|(n, _)| *n == number);
    found.map(|(_, value)| value)
}

fn read_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        value |= u64::from(byte & 127) << shift;
        if *byte < 128 {
            return Some(value);
        }
    }
    None
}
