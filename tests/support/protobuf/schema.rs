//! The messages of Kubernetes' kinds, from `schema.txt`.

use std::collections::HashMap;
use std::sync::OnceLock;

/// How often a field stands in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Once, empty or not.
    Always,
    /// When there is something.
    Optional,
    /// Once for each element.
    Repeated,
    /// Once for each entry.
    Map,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Text.
    Text,
    /// Bytes, in JSON in base64.
    Bytes,
    /// A number.
    Int,
    /// A truth value.
    Bool,
    /// A point in time; in JSON with microseconds if so said.
    Time {
        /// With microseconds.
        micro: bool,
    },
    /// A message with a text; in JSON the text.
    Quantity,
    /// A message with a number or a text; in JSON either.
    IntOrString,
    /// A message with JSON in it; in JSON the JSON.
    Fields,
    /// A message.
    Message(&'static str),
}

/// A field of a message.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The member in JSON; empty if its members stand among those of its parent.
    pub name: &'static str,
    /// Its number.
    pub number: u64,
    /// How often it stands there.
    pub presence: Presence,
    /// What it holds.
    pub of: Type,
}

/// The fields of a message, in the order of their numbers; `None` for one that is not known.
pub fn message(name: &str) -> Option<&'static [Field]> {
    static MESSAGES: OnceLock<HashMap<&str, Vec<Field>>> = OnceLock::new();
    let messages = MESSAGES.get_or_init(|| {
        let lines = include_str!("schema.txt").lines();
        lines.filter_map(line).collect()
    });
    messages.get(name).map(Vec::as_slice)
}

fn line(line: &'static str) -> Option<(&'static str, Vec<Field>)> {
    let (name, fields) = line.split_once(':').filter(|_| !line.starts_with('#'))?;
    Some((name, fields.split_whitespace().map(field).collect()))
}

fn field(text: &'static str) -> Field {
    let (name, rest) = text.split_once('=').expect("a field");
    let end = rest.find(|c: char| !c.is_ascii_digit()).expect("a type");
    let (number, rest) = rest.split_at(end);
    let (presence, of) = match rest.as_bytes()[0] {
        b'?' => (Presence::Optional, &rest[1..]),
        b'*' => (Presence::Repeated, &rest[1..]),
        b'%' => (Presence::Map, &rest[1..]),
        _ => (Presence::Always, rest),
    };
    let of = match of {
        "string" => Type::Text,
        "bytes" => Type::Bytes,
        "int" => Type::Int,
        "bool" => Type::Bool,
        "time" => Type::Time { micro: false },
        "microtime" => Type::Time { micro: true },
        "quantity" => Type::Quantity,
        "intorstring" => Type::IntOrString,
        "fields" => Type::Fields,
        message => Type::Message(message),
    };
    Field {
        name: if name == "-" { "" } else { name },
        number: number.parse().expect("a number"),
        presence,
        of,
    }
}

#[cfg(test)]
mod tests {
    use super::Type;
    use super::message;

    #[test]
    fn every_message_that_is_named_is_known() {
        let names = include_str!("schema.txt").lines();
        let names = names.filter(|line| !line.starts_with('#'));
        for name in names.filter_map(|line| line.split(':').next()) {
            for field in message(name).expect("known") {
                if let Type::Message(of) = field.of {
                    assert!(message(of).is_some(), "{name}.{}: {of}", field.name);
                }
            }
        }
        assert!(message("Camera").is_none());
    }
}
