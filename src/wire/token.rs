//! `TokenRequest` (`authentication.k8s.io/v1`): what a token is asked for, when the one that was given ends, and the record
//! of it that the mirror keeps.
//!
//! Read in JSON and in protobuf, field numbers as in `k8s.io/api/authentication/v1/generated.proto`. Nothing is changed: what was given is kept as it came.
//!
//! A record is three lines, each ended by a line feed (the content type, the uid of the pod that the token is bound to or
//! nothing, when it ends in seconds since 1970), and behind them the answer's body as it came.

use crate::k8s::encoding::Encoding;
use crate::wire::json;
use crate::wire::json::Mark;
use crate::wire::json::Scanner;
use crate::wire::protobuf;
use crate::wire::protobuf::Value;

/// How long a token lives when nothing is asked (the API server's default), in seconds.
const LIFE: u64 = 3600;

/// What a token is asked for: who gets one for the same can be given the same one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spec {
    /// `spec.audiences`, sorted and each once: they are a set.
    audiences: Vec<String>,
    /// `spec.expirationSeconds`
    seconds: u64,
    /// `spec.boundObjectRef`: `kind`, `name`, `uid`.
    bound: [String; 3],
}

impl Spec {
    /// Reads a request's body; none when it can't be read to the end, or when something in it could be taken for something else.
    pub fn read(encoding: Encoding, body: &[u8]) -> Option<Self> {
        let mut spec = Self {
            seconds: LIFE,
            ..Self::default()
        };
        match encoding {
            Encoding::Json => spec.read_json(body)?,
            Encoding::Protobuf => spec.read_protobuf(protobuf::open(body).ok()?.raw)?,
        }
        let mut texts = spec.audiences.iter().chain(&spec.bound);
        let plain = texts.all(|text| !text.contains(char::is_control));
        plain.then_some(spec)
    }

    /// The uid of the pod that the token is bound to; empty when it is bound to none.
    pub fn pod(&self) -> &str {
        match &self.bound {
            [kind, _, uid] if kind == "Pod" => uid,
            _ => "",
        }
    }

    /// All of it for this service account as one text: the same for the same request, and never for another; none when a
    /// name could be taken for more than that.
    pub fn text(&self, namespace: &str, service_account: &str) -> Option<String> {
        let names = [namespace, service_account];
        if names.iter().any(|name| name.contains(char::is_control)) {
            return None;
        }
        let [kind, name, uid] = &self.bound;
        let mut text = format!(
            "{namespace}\n{service_account}\n{}\n{kind}\n{name}\n{uid}",
            self.seconds
        );
        for audience in &self.audiences {
            text.push('\n');
            text.push_str(audience);
        }
        Some(text)
    }

    fn read_json(&mut self, body: &[u8]) -> Option<()> {
        let spec = json_once(body, b"spec")??;
        let member = |name: &[u8]| {
            let value = json_once(spec, name)?;
            Some(value.filter(|value| *value != b"null"))
        };
        if let Some(audiences) = member(b"audiences")? {
            self.audiences = strings(audiences)?;
        }
        if let Some(seconds) = member(b"expirationSeconds")? {
            self.seconds = std::str::from_utf8(seconds).ok()?.parse().ok()?;
        }
        if let Some(bound) = member(b"boundObjectRef")? {
            let names: [&[u8]; 3] = [b"kind", b"name", b"uid"];
            for (text, name) in self.bound.iter_mut().zip(names) {
                if let Some(value) = json_once(bound, name)? {
                    *text = json::text(value)?.into_owned();
                }
            }
        }
        Some(())
    }

    fn read_protobuf(&mut self, message: &[u8]) -> Option<()> {
        for field in protobuf::fields(message) {
            let field = field.ok()?;
            let Some(spec) = field.bytes().filter(|_| field.number == 2) else {
                continue;
            };
            for field in protobuf::fields(spec) {
                let field = field.ok()?;
                match (field.number, field.value) {
                    (1, _) => insert(&mut self.audiences, field.text()?.to_owned()),
                    (3, Value::Bytes(bound)) => {
                        for field in protobuf::fields(bound) {
                            let field = field.ok()?;
                            let place = match field.number {
                                1 => 0,
                                3 => 1,
                                4 => 2,
                                _ => continue,
                            };
                            *self.bound.get_mut(place)? = field.text()?.to_owned();
                        }
                    }
                    (4, Value::Varint(seconds)) => self.seconds = seconds,
                    _ => {}
                }
            }
        }
        Some(())
    }
}

/// `status.expirationTimestamp` of an answer, in seconds since 1970; none when it gives no token.
pub fn expires(encoding: Encoding, body: &[u8]) -> Option<u64> {
    match encoding {
        Encoding::Json => {
            let status = json_once(body, b"status")??;
            json_once(status, b"token")?.filter(|token| token.len() > 2)?;
            seconds(&json::text(json_once(status, b"expirationTimestamp")??)?)
        }
        Encoding::Protobuf => {
            let status = bytes_of(protobuf::open(body).ok()?.raw, 3)?;
            bytes_of(status, 1).filter(|token| !token.is_empty())?;
            // Time{seconds=1}; zero is not written.
            match protobuf::find(bytes_of(status, 2)?, &[1]).ok()? {
                Some(Value::Varint(seconds)) => Some(seconds),
                _ => Some(0),
            }
        }
    }
}

/// The value of the member of this name, if there is one; none when there are several, which some would read as one and some
/// as another, or when it is no object.
fn json_once<'a>(object: &'a [u8], name: &[u8]) -> Option<Option<&'a [u8]>> {
    let mut found = None;
    for pair in json::members(object) {
        let (key, value) = pair.ok()?;
        if key == name && found.replace(value).is_some() {
            return None;
        }
    }
    Some(found)
}

fn insert(set: &mut Vec<String>, text: String) {
    if let Err(at) = set.binary_search(&text) {
        set.insert(at, text);
    }
}

/// The strings of a JSON array, as a set.
fn strings(array: &[u8]) -> Option<Vec<String>> {
    let (mut scanner, mut at, mut begun) = (Scanner::new(1), 0, 0);
    let mut strings = Vec::new();
    loop {
        match scanner.next(array, &mut at).ok()?? {
            Mark::Begins(0, 0) if array.starts_with(b"[") => {}
            Mark::Begins(here, 1) => begun = here,
            Mark::Ends(after, 1) => {
                let text = json::text(array.get(begun..after)?)?;
                insert(&mut strings, text.into_owned());
            }
            Mark::Ends(_, 0) => return Some(strings),
            _ => return None,
        }
    }
}

/// RFC 3339 in UTC and whole seconds, as the API server writes times, in seconds since 1970 (a date to days after Howard
/// Hinnant's `days_from_civil`).
fn seconds(text: &str) -> Option<u64> {
    let numbers = |from: usize, to: usize| -> Option<u64> {
        let digits = text.get(from..to)?;
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse().ok()).flatten()
    };
    let marks: String = text.chars().filter(|c| !c.is_ascii_digit()).collect();
    if text.len() != 20 || marks != "--T::Z" {
        return None;
    }
    let (year, month, day) = (numbers(0, 4)?, numbers(5, 7)?, numbers(8, 10)?);
    let (hour, minute, second) = (numbers(11, 13)?, numbers(14, 16)?, numbers(17, 19)?);
    if !(1970..).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years begin in March, so that the day that leaps is the last one.
    let (year, month) = match month {
        1 | 2 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let day_of_era = 365 * year_of_era + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (era * 146_097 + day_of_era).checked_sub(719_468)?;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

/// An answer as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its `Content-Type`.
    pub content_type: String,
    /// The uid of the pod that the token is bound to; empty when it is bound to none.
    pub pod: String,
    /// When the token ends, in seconds since 1970.
    pub expires: u64,
    /// The body as it came.
    pub body: Vec<u8>,
}

impl Kept {
    /// The bytes of the record.
    pub fn encode(&self) -> Vec<u8> {
        let head = format!("{}\n{}\n{}\n", self.content_type, self.pod, self.expires);
        [head.as_bytes(), &self.body].concat()
    }

    /// Reads a record; none when it is not one.
    pub fn decode(record: &[u8]) -> Option<Self> {
        let mut lines = record.splitn(4, |byte| *byte == b'\n');
        let mut line = || std::str::from_utf8(lines.next()?).ok();
        Some(Self {
            content_type: line()?.to_owned(),
            pod: line()?.to_owned(),
            expires: line()?.parse().ok()?,
            body: lines.next()?.to_vec(),
        })
    }
}

/// The bytes of the last field of this number; none also when the message is broken.
fn bytes_of(message: &[u8], number: u32) -> Option<&[u8]> {
    match protobuf::find(message, &[number]).ok()?? {
        Value::Bytes(bytes) => Some(bytes),
        Value::Varint(_) | Value::Fixed(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delimited(number: u8, bytes: &[u8]) -> Vec<u8> {
        let len = u8::try_from(bytes.len()).expect("short");
        assert!(len < 128);
        [&[number << 3 | 2, len], bytes].concat()
    }

    fn enveloped(message: &[u8]) -> Vec<u8> {
        let kind = [
            delimited(1, b"authentication.k8s.io/v1"),
            delimited(2, b"TokenRequest"),
        ];
        let unknown = [delimited(1, &kind.concat()), delimited(2, message)];
        [
            &protobuf::MAGIC[..],
            &unknown.concat(),
            &delimited(3, b""),
            &delimited(4, b""),
        ]
        .concat()
    }

    /// A kubelet's request in both encodings.
    fn requests(uid: &str) -> [(Encoding, Vec<u8>); 2] {
        let json = format!(
            r#"{{"kind":"TokenRequest","apiVersion":"authentication.k8s.io/v1","metadata":{{"creationTimestamp":null}},"spec":{{"audiences":["b","a"],"expirationSeconds":3607,"boundObjectRef":{{"kind":"Pod","apiVersion":"v1","name":"p1","uid":"{uid}"}}}},"status":{{"token":"","expirationTimestamp":null}}}}"#
        );
        let bound = [
            delimited(1, b"Pod"),
            delimited(2, b"v1"),
            delimited(3, b"p1"),
            delimited(4, uid.as_bytes()),
        ];
        let spec = [
            delimited(1, b"a"),
            delimited(1, b"b"),
            delimited(3, &bound.concat()),
            // 3607, and a field of later times.
            b"\x20\x97\x1c\x7d\x01\x02\x03\x04".to_vec(),
        ];
        let message = [
            delimited(1, b""),
            delimited(2, &spec.concat()),
            delimited(3, b""),
        ];
        [
            (Encoding::Json, json.into_bytes()),
            (Encoding::Protobuf, enveloped(&message.concat())),
        ]
    }

    #[test]
    fn a_kubelets_request_reads_the_same_in_both_encodings() {
        let read = requests("u-1").map(|(encoding, body)| Spec::read(encoding, &body));
        let [json, protobuf] = read.map(|spec| spec.expect("a request"));
        assert_eq!(json, protobuf);
        assert_eq!(json.pod(), "u-1");
        let text = json.text("ns", "sa");
        assert_eq!(text.as_deref(), Some("ns\nsa\n3607\nPod\np1\nu-1\na\nb"));
        assert_eq!(json.text("ns\n", "sa"), None);
    }

    #[test]
    fn whatever_differs_makes_another_text() {
        let text = |body: &str| {
            let spec = Spec::read(Encoding::Json, body.as_bytes());
            spec.and_then(|spec| spec.text("ns", "sa"))
        };
        let texts = [
            r#"{"spec":{}}"#,
            r#"{"spec":{"audiences":["a"]}}"#,
            r#"{"spec":{"audiences":["a","b"]}}"#,
            r#"{"spec":{"expirationSeconds":600}}"#,
            r#"{"spec":{"boundObjectRef":{"kind":"Pod","name":"p","uid":"1"}}}"#,
            r#"{"spec":{"boundObjectRef":{"kind":"Pod","name":"p","uid":"2"}}}"#,
            r#"{"spec":{"boundObjectRef":{"kind":"Secret","name":"p","uid":"1"}}}"#,
            r#"{"spec":{"boundObjectRef":{"kind":"Pod","name":"q","uid":"1"}}}"#,
        ]
        .map(|body| text(body).expect("a request"));
        let different: std::collections::BTreeSet<_> = texts.iter().collect();
        assert_eq!(different.len(), texts.len());
        for same in [
            r#"{"spec":{"expirationSeconds":3600,"audiences":null,"boundObjectRef":null}}"#,
            r#"{"spec":{"audiences":[],"x":[1]},"status":1}"#,
        ] {
            assert_eq!(text(same).as_ref(), Some(&texts[0]), "{same}");
        }
        assert_eq!(
            text(r#"{"spec":{"audiences":["b","a","b"]}}"#),
            text(r#"{"spec":{"audiences":["a","b"]}}"#)
        );
    }

    #[test]
    fn what_is_no_request_is_none_and_no_cut_or_change_panics() {
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"spec":1}"#,
            r#"{"spec":{"audiences":["z"]},"spec":{}}"#,
            r#"{"spec":{"audiences":["z"],"audiences":["z"]}}"#,
            r#"{"spec":{"boundObjectRef":{"uid":"a","uid":"b"}}}"#,
            r#"{"spec":{"boundObjectRef":"a"}}"#,
            r#"{"spec":{"audiences":["a"}}"#,
            r#"{"spec":{"audiences":[1]}}"#,
            r#"{"spec":{"audiences":"a"}}"#,
            r#"{"spec":{"audiences":["a\nb"]}}"#,
            r#"{"spec":{"expirationSeconds":-1}}"#,
            r#"{"spec":{"boundObjectRef":{"uid":"a\u0000"}}}"#,
            r#"{"spec":{"boundObjectRef":{"uid":1}}}"#,
        ] {
            assert_eq!(Spec::read(Encoding::Json, bad.as_bytes()), None, "{bad}");
        }
        for (encoding, body) in requests("u-1") {
            for at in 0..body.len() {
                let cut = Spec::read(encoding, &body[..at]);
                assert!(encoding == Encoding::Protobuf || cut.is_none());
                for bit in 0..8 {
                    let mut changed = body.clone();
                    changed[at] ^= 1 << bit;
                    // Some of them are requests, for something else.
                    drop(Spec::read(encoding, &changed));
                    let _ = expires(encoding, &changed);
                }
            }
        }
        let long = [
            &protobuf::MAGIC[..],
            b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ]
        .concat();
        assert_eq!(Spec::read(Encoding::Protobuf, &long), None);
    }

    #[test]
    fn the_end_of_a_tokens_life_is_read_in_both_encodings() {
        let json = br#"{"status":{"token":"a.b.c","expirationTimestamp":"2026-11-22T04:25:48Z"}}"#;
        assert_eq!(expires(Encoding::Json, json), Some(1_795_321_548));
        let none = br#"{"status":{"token":"","expirationTimestamp":"2026-11-22T04:25:48Z"}}"#;
        assert_eq!(expires(Encoding::Json, none), None);
        let time = [b"\x08\xcc\xf9\x89\xd8\x06".to_vec(), b"\x10\0".to_vec()].concat();
        let status = [delimited(1, b"a.b.c"), delimited(2, &time)].concat();
        let body = enveloped(&delimited(3, &status));
        assert_eq!(expires(Encoding::Protobuf, &body), Some(1_795_325_132));
        let body = enveloped(&delimited(3, &delimited(2, &time)));
        assert_eq!(expires(Encoding::Protobuf, &body), None);
        for (text, unix) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T00:00:00Z", Some(951_782_400)),
            ("2038-01-19T03:14:08Z", Some(2_147_483_648)),
            ("2026-11-24T08:46:39Z", Some(1_795_509_999)),
            ("2026-11-24T08:46:39+01:00", None),
            ("2026-13-24T08:46:39Z", None),
            ("2026-11-2408:46:39TZ", None),
            ("1969-11-24T08:46:39Z", None),
        ] {
            assert_eq!(seconds(text), unix, "{text}");
        }
    }

    #[test]
    fn a_record_reads_back_and_its_body_may_hold_anything() {
        let kept = Kept {
            content_type: "application/vnd.kubernetes.protobuf".into(),
            pod: "u-1".into(),
            expires: 1_795_321_548,
            body: b"k8s\0\n\n\xff".to_vec(),
        };
        assert_eq!(Kept::decode(&kept.encode()), Some(kept));
        assert_eq!(Kept::decode(b"a\nb\n1"), None);
        assert_eq!(Kept::decode(b"a\nb\nc\nd"), None);
    }
}
