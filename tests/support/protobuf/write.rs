//! JSON to protobuf, in the bytes that Go writes: fields in the order of their numbers, maps by their keys.

use data_encoding::BASE64;
use serde_json::Map;
use serde_json::Value;

use super::field;
use super::schema;
use super::schema::Field;
use super::schema::Presence;
use super::schema::Type;
use super::time;
use super::varint;

/// The message `kind` with these members. A kind that ends in `List` is a list of what stands before. `None` for a kind
/// without protobuf. Members named `@NUMBER` become fields that no schema knows; others that it does not know are left out.
pub fn message(kind: &str, object: &Value) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let empty = Map::new();
    let members = object.as_object().unwrap_or(&empty);
    if let Some(item) = kind.strip_suffix("List") {
        schema::message(item)?;
        field(1, &message("ListMeta", &object["metadata"])?, &mut out);
        for object in object["items"].as_array().into_iter().flatten() {
            field(2, &message(item, object)?, &mut out);
        }
        return Some(out);
    }
    for own in schema::message(kind)? {
        // What is inlined in JSON takes its members from among ours.
        let value = if own.name.is_empty() {
            object
        } else {
            members.get(own.name).unwrap_or(&Value::Null)
        };
        put(own, value, &mut out);
    }
    for (name, value) in members {
        if let Some(number) = name.strip_prefix('@').and_then(|text| text.parse().ok()) {
            field(number, text(value).as_bytes(), &mut out);
        }
    }
    Some(out)
}

fn put(own: &Field, value: &Value, out: &mut Vec<u8>) {
    match own.presence {
        Presence::Always => one(own, value, out),
        Presence::Optional if value.is_null() => {}
        Presence::Optional => one(own, value, out),
        Presence::Repeated => {
            for element in value.as_array().into_iter().flatten() {
                one(own, element, out);
            }
        }
        Presence::Map => {
            let mut entries: Vec<_> = value.as_object().into_iter().flatten().collect();
            entries.sort_by_key(|(key, _)| *key);
            for (key, value) in entries {
                let mut entry = Vec::new();
                field(1, key.as_bytes(), &mut entry);
                one(&Field { number: 2, ..*own }, value, &mut entry);
                field(own.number, &entry, out);
            }
        }
    }
}

/// One field.
fn one(own: &Field, value: &Value, out: &mut Vec<u8>) {
    match own.of {
        Type::Int => number(own.number, value.as_i64().unwrap_or_default(), out),
        Type::Bool => number(own.number, i64::from(value == &Value::Bool(true)), out),
        _ => field(own.number, &bytes(own.of, value), out),
    }
}

fn bytes(of: Type, value: &Value) -> Vec<u8> {
    let mut inner = Vec::new();
    match of {
        Type::Text | Type::Int | Type::Bool => inner = text(value).into_bytes(),
        Type::Bytes => {
            let packed = value.as_str().unwrap_or_default();
            inner = BASE64
                .decode(packed.as_bytes())
                .unwrap_or_else(|_| packed.into());
        }
        Type::Time { .. } => {
            if let Some((seconds, nanos)) = value.as_str().and_then(time::parse) {
                number(1, seconds, &mut inner);
                number(2, i64::from(nanos), &mut inner);
            }
        }
        Type::Quantity => field(1, text(value).as_bytes(), &mut inner),
        Type::IntOrString => {
            number(1, i64::from(value.is_string()), &mut inner);
            number(2, value.as_i64().unwrap_or_default(), &mut inner);
            field(3, value.as_str().unwrap_or_default().as_bytes(), &mut inner);
        }
        Type::Fields => field(1, value.to_string().as_bytes(), &mut inner),
        Type::Message(name) => inner = message(name, value).expect("the schema is closed"),
    }
    inner
}

fn number(number: u64, value: i64, out: &mut Vec<u8>) {
    varint(number << 3, out);
    varint(value.cast_unsigned(), out);
}

/// A text; of anything else the JSON.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
