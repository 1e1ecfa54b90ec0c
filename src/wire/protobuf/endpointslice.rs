//! The endpoints of an EndpointSlice in protobuf. The numbers are those of `generated.proto` in k8s.io/api/discovery/v1.

use std::borrow::Cow;

use crate::wire::endpointslice::Change;
use crate::wire::endpointslice::Decide;
use crate::wire::endpointslice::Endpoint;
use crate::wire::error::Error;
use crate::wire::protobuf;
use crate::wire::protobuf::Field;
use crate::wire::protobuf::MAGIC;
use crate::wire::protobuf::Value;
use crate::wire::protobuf::put_bytes;
use crate::wire::protobuf::put_number;

/// Fields of `EndpointSlice`.
const ENDPOINTS: u32 = 2;
const ADDRESS_TYPE: u32 = 4;
/// Fields of `Endpoint`.
const ADDRESSES: u32 = 1;
const CONDITIONS: u32 = 2;
const TARGET_REF: u32 = 4;
const NODE_NAME: u32 = 6;
/// Fields of `EndpointConditions`.
const READY: u32 = 1;
const SERVING: u32 = 2;
const TERMINATING: u32 = 3;
/// Fields of `ObjectReference`.
const KIND: u32 = 1;
const UID: u32 = 4;

/// See [`crate::wire::endpointslice::rewrite`].
pub fn rewrite(slice: &[u8], decide: Decide<'_>) -> Result<Option<Vec<u8>>, Error> {
    // Items of lists are bare; what has an envelope is none.
    if slice.starts_with(&MAGIC) {
        return Ok(None);
    }
    let address_type = text(slice, ADDRESS_TYPE)?.unwrap_or_default();
    let mut out = Vec::new();
    let mut changed = false;
    for field in protobuf::fields(slice) {
        let field = field?;
        if let (ENDPOINTS, Some(message)) = (field.number, field.bytes())
            && let Some(change) = decide(address_type, &read(message)?)
            && change != Change::default()
        {
            put_bytes(ENDPOINTS, &endpoint(message, &change)?, &mut out);
            changed = true;
        } else {
            out.extend_from_slice(field.span);
        }
    }
    Ok(changed.then_some(out))
}

fn text(message: &[u8], number: u32) -> Result<Option<&str>, Error> {
    Ok(match protobuf::find(message, &[number])? {
        Some(Value::Bytes(text)) => std::str::from_utf8(text).ok(),
        _ => None,
    })
}

fn read(message: &[u8]) -> Result<Endpoint<'_>, Error> {
    let mut endpoint = Endpoint::default();
    for field in protobuf::fields(message) {
        let field = field?;
        let bytes = field.bytes().unwrap_or_default();
        match field.number {
            ADDRESSES => endpoint.addresses.extend(field.text().map(Cow::Borrowed)),
            CONDITIONS => {
                for field in protobuf::fields(bytes) {
                    let field = field?;
                    match field.number {
                        READY => endpoint.ready = truth(&field),
                        SERVING => endpoint.serving = truth(&field),
                        TERMINATING => endpoint.terminating = truth(&field),
                        _ => {}
                    }
                }
            }
            TARGET_REF if text(bytes, KIND)? == Some("Pod") => {
                let uid = text(bytes, UID)?.filter(|uid| !uid.is_empty());
                endpoint.pod = uid.map(Cow::Borrowed);
            }
            NODE_NAME => endpoint.node = field.text().map(Cow::Borrowed),
            _ => {}
        }
    }
    Ok(endpoint)
}

fn truth(field: &Field<'_>) -> Option<bool> {
    match field.value {
        Value::Varint(number) => Some(number != 0),
        _ => None,
    }
}

/// The endpoint, changed.
fn endpoint(message: &[u8], change: &Change) -> Result<Vec<u8>, Error> {
    let mut out = Vec::with_capacity(message.len() + 16);
    let mut addresses = change.addresses.as_deref();
    let mut conditions = change.ready.is_some() || change.serving.is_some();
    for field in protobuf::fields(message) {
        let field = field?;
        match (field.number, field.bytes()) {
            (ADDRESSES, _) if change.addresses.is_some() => put_addresses(&mut addresses, &mut out),
            (CONDITIONS, Some(message)) if conditions => {
                conditions = false;
                put_bytes(CONDITIONS, &conditioned(message, change)?, &mut out);
            }
            _ => out.extend_from_slice(field.span),
        }
    }
    put_addresses(&mut addresses, &mut out);
    if conditions {
        put_bytes(CONDITIONS, &conditioned(&[], change)?, &mut out);
    }
    Ok(out)
}

/// Puts the addresses, all of them, and once.
fn put_addresses(addresses: &mut Option<&[String]>, out: &mut Vec<u8>) {
    for address in addresses.take().unwrap_or_default() {
        put_bytes(ADDRESSES, address.as_bytes(), out);
    }
}

/// The conditions, changed.
fn conditioned(message: &[u8], change: &Change) -> Result<Vec<u8>, Error> {
    let mut out = Vec::with_capacity(message.len() + 4);
    let (mut ready, mut serving) = (change.ready, change.serving);
    for field in protobuf::fields(message) {
        let field = field?;
        let new = match field.number {
            READY if change.ready.is_some() => ready.take(),
            SERVING if change.serving.is_some() => serving.take(),
            _ => {
                out.extend_from_slice(field.span);
                None
            }
        };
        if let Some(new) = new {
            put_number(field.number, new.into(), &mut out);
        }
    }
    for (number, value) in [(READY, ready), (SERVING, serving)] {
        if let Some(value) = value {
            put_number(number, value.into(), &mut out);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(fields: &[(u32, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (number, bytes) in fields {
            put_bytes(*number, bytes, &mut out);
        }
        out
    }

    #[test]
    fn lengths_grow_and_shrink_and_unknown_fields_stay() {
        let later = message(&[(5000, b"of a later Kubernetes")]);
        let target = message(&[(KIND, b"Pod"), (3, b"web-0"), (UID, b"u-1"), (9, &later)]);
        let mut conditions = Vec::new();
        put_number(READY, 1, &mut conditions);
        put_number(77, 300, &mut conditions);
        let endpoint = message(&[
            (ADDRESSES, b"10.0.0.1"),
            (ADDRESSES, b"10.0.0.2"),
            (CONDITIONS, &conditions),
            (3, b"web-0"),
            (TARGET_REF, &target),
            (NODE_NAME, b"edge-00"),
            (70, &later),
        ]);
        let other = message(&[(ADDRESSES, b"10.0.0.3"), (NODE_NAME, b"edge-01")]);
        // Long enough that the new addresses make the length another byte long.
        let slice = message(&[
            (1, b"metadata"),
            (ENDPOINTS, &endpoint),
            (ENDPOINTS, &other),
            (3, b"ports"),
            (ADDRESS_TYPE, b"IPv6"),
            (80, &later),
        ]);
        let change = Change {
            addresses: Some(vec!["fd00:0:1:2:3:4:5:600".to_owned(); 8]),
            ready: Some(false),
            serving: Some(false),
        };
        let decide = |address_type: &str, endpoint: &Endpoint<'_>| {
            assert_eq!(address_type, "IPv6");
            (endpoint.pod.as_deref() == Some("u-1")).then(|| change.clone())
        };
        let rewritten = rewrite(&slice, &decide).expect("a slice").expect("changed");
        let mut conditions = Vec::new();
        put_number(READY, 0, &mut conditions);
        put_number(77, 300, &mut conditions);
        put_number(SERVING, 0, &mut conditions);
        let mut fields: Vec<(u32, &[u8])> = vec![(ADDRESSES, b"fd00:0:1:2:3:4:5:600"); 8];
        fields.extend([
            (CONDITIONS, &conditions[..]),
            (3, b"web-0"),
            (TARGET_REF, &target),
            (NODE_NAME, b"edge-00"),
            (70, &later),
        ]);
        let expected = message(&[
            (1, b"metadata"),
            (ENDPOINTS, &message(&fields)),
            (ENDPOINTS, &other),
            (3, b"ports"),
            (ADDRESS_TYPE, b"IPv6"),
            (80, &later),
        ]);
        assert_eq!(rewritten, expected);
    }

    #[test]
    fn what_is_missing_is_added() {
        let slice = message(&[(ENDPOINTS, b"")]);
        let change = Change {
            addresses: Some(vec!["10.0.0.9".to_owned()]),
            ready: None,
            serving: Some(true),
        };
        let rewritten = rewrite(&slice, &|_, _| Some(change.clone()));
        let endpoint = message(&[(ADDRESSES, b"10.0.0.9"), (CONDITIONS, &[0x10, 1])]);
        assert_eq!(rewritten, Ok(Some(message(&[(ENDPOINTS, &endpoint)]))));
        assert_eq!(rewrite(&slice, &|_, _| Some(Change::default())), Ok(None));
    }
}
