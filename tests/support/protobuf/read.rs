//! Protobuf to JSON.

use data_encoding::BASE64;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::schema;
use super::schema::Presence;
use super::schema::Type;
use super::time;

/// The number of a field that readers skip: no list has it.
const SKIPPED: u64 = 15;

/// One field, as it stands.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    /// Its number.
    pub number: u64,
    /// What it holds if it is a number, else 0.
    pub value: u64,
    bytes: Option<&'a [u8]>,
}

impl<'a> Raw<'a> {
    /// Its bytes.
    pub fn bytes(&self) -> Result<&'a [u8], String> {
        self.bytes
            .ok_or_else(|| format!("field {} holds a number", self.number))
    }
}

/// The fields of a message, in the order in which they stand.
pub fn fields(mut message: &[u8]) -> Result<Vec<Raw<'_>>, String> {
    let mut all = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let mut raw = Raw {
            number: tag >> 3,
            value: 0,
            bytes: None,
        };
        match tag & 7 {
            0 => raw.value = varint(&mut message)?,
            2 => {
                let length = varint(&mut message)? as usize;
                let (bytes, rest) = message
                    .split_at_checked(length)
                    .ok_or_else(|| format!("field {} is cut", raw.number))?;
                raw.bytes = Some(bytes);
                message = rest;
            }
            kind => return Err(format!("field {} of kind {kind}", raw.number)),
        }
        all.push(raw);
    }
    Ok(all)
}

fn varint(bytes: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or("a number is cut")?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number without end".to_owned())
}

/// The message `kind` as JSON; what is empty is left out, as Go leaves it out. Fields that no schema knows become members
/// named `@NUMBER`; those of a list are skipped.
pub fn message(kind: &str, bytes: &[u8]) -> Result<Value, String> {
    if let Some(item) = kind.strip_suffix("List") {
        let (mut items, mut metadata) = (Vec::new(), json!({}));
        for raw in fields(bytes)? {
            match raw.number {
                1 => metadata = message("ListMeta", raw.bytes()?)?,
                2 => items.push(message(item, raw.bytes()?)?),
                SKIPPED if raw.bytes()?.iter().all(|byte| *byte == 0) => {}
                other => return Err(format!("a list with field {other}")),
            }
        }
        return Ok(json!({"metadata": metadata, "items": items}));
    }
    let schema = schema::message(kind).ok_or_else(|| format!("{kind} is not known"))?;
    let mut members = Map::new();
    for raw in fields(bytes)? {
        let Some(own) = schema.iter().find(|own| own.number == raw.number) else {
            // In `ListMeta` a count that is taken out is a field that readers skip.
            if raw.bytes.is_some() || kind != "ListMeta" {
                let text = String::from_utf8_lossy(raw.bytes.unwrap_or_default());
                members.insert(format!("@{}", raw.number), json!(text));
            }
            continue;
        };
        match own.presence {
            Presence::Always if own.name.is_empty() => {
                if let Value::Object(inlined) = value(own.of, &raw)? {
                    members.extend(inlined);
                }
            }
            Presence::Always => {
                let value = value(own.of, &raw)?;
                if !is_empty(&value) {
                    members.insert(own.name.to_owned(), value);
                }
            }
            Presence::Optional => {
                members.insert(own.name.to_owned(), value(own.of, &raw)?);
            }
            Presence::Repeated => {
                let list = members.entry(own.name).or_insert_with(|| json!([]));
                let element = value(own.of, &raw)?;
                list.as_array_mut().expect("a list").push(element);
            }
            Presence::Map => {
                let entry = fields(raw.bytes()?)?;
                let [key, content] = entry.as_slice() else {
                    return Err(format!("an entry of {} fields", entry.len()));
                };
                let key = String::from_utf8_lossy(key.bytes()?).into_owned();
                let map = members.entry(own.name).or_insert_with(|| json!({}));
                map[key] = value(own.of, content)?;
            }
        }
    }
    Ok(Value::Object(members))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(truth) => !truth,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Array(items) => items.is_empty(),
    }
}

fn value(of: Type, raw: &Raw<'_>) -> Result<Value, String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|e| e.to_string());
    Ok(match of {
        Type::Int => json!(raw.value.cast_signed()),
        Type::Bool => json!(raw.value != 0),
        Type::Text => json!(text(raw.bytes()?)?),
        Type::Bytes => json!(BASE64.encode(raw.bytes()?)),
        Type::Time { micro } => match fields(raw.bytes()?)?.as_slice() {
            [seconds, nanos] => {
                let nanos = u32::try_from(nanos.value).map_err(|e| e.to_string())?;
                json!(time::format(seconds.value.cast_signed(), nanos, micro))
            }
            _ => Value::Null,
        },
        Type::Quantity => match fields(raw.bytes()?)?.as_slice() {
            [string] => json!(text(string.bytes()?)?),
            other => return Err(format!("a quantity of {} fields", other.len())),
        },
        Type::IntOrString => match fields(raw.bytes()?)?.as_slice() {
            [kind, _, string] if kind.value == 1 => json!(text(string.bytes()?)?),
            [_, int, _] => json!(int.value.cast_signed()),
            other => return Err(format!("an IntOrString of {} fields", other.len())),
        },
        Type::Fields => match fields(raw.bytes()?)?.as_slice() {
            [json] => serde_json::from_slice(json.bytes()?).map_err(|e| e.to_string())?,
            _ => Value::Null,
        },
        Type::Message(name) => message(name, raw.bytes()?)?,
    })
}
