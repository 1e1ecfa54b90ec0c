//! The forms of an answer: objects, their metadata, Tables; JSON and protobuf (kubernetes-wire 1.4).

use serde_json::Value;
use serde_json::json;

use super::answer::Whole;
use super::kind::Kind;
use super::store::Happened;
use super::store::line;
use crate::support::protobuf;
use crate::support::protobuf::MEDIA;
use crate::support::protobuf::STREAM;

/// What is shown of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// All of it.
    Object,
    /// Its metadata.
    Metadata,
    /// Rows for people.
    Table,
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// What is shown.
    pub shape: Shape,
    /// In protobuf, not in JSON.
    pub protobuf: bool,
}

const JSON: Form = Form {
    shape: Shape::Object,
    protobuf: false,
};

impl Form {
    /// The first clause that can be served, by weight and then as they stand. Objects of custom kinds have no protobuf, and
    /// nothing has a Table in protobuf.
    pub fn negotiated(accept: &str, custom: bool) -> Option<Self> {
        if accept.trim().is_empty() {
            return Some(JSON);
        }
        let mut clauses: Vec<(u32, &str)> = accept.split(',').map(|c| (weight(c), c)).collect();
        clauses.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        clauses.into_iter().find_map(|(_, text)| {
            let mut parts = text.split(';').map(str::trim);
            let media = parts.next()?;
            let protobuf = media == MEDIA;
            let known = ["application/json", "application/*", "*/*"].contains(&media);
            let shape = match parts.find_map(|part| part.strip_prefix("as=")) {
                None if !(protobuf && custom) => Shape::Object,
                Some("Table") if !protobuf => Shape::Table,
                Some("PartialObjectMetadata" | "PartialObjectMetadataList") => Shape::Metadata,
                _ => return None,
            };
            (protobuf || known).then_some(Self { shape, protobuf })
        })
    }

    /// How it is said that nothing which is accepted can be served.
    pub fn of_refusal(accept: &str) -> Self {
        Self {
            shape: Shape::Object,
            protobuf: accept.contains(MEDIA),
        }
    }

    /// The media type of a watch.
    pub fn stream(self) -> &'static str {
        if self.protobuf {
            STREAM
        } else {
            "application/json"
        }
    }

    /// The answer in this form, if it is an object or a Status in JSON.
    pub fn sealed(self, whole: &Whole) -> Whole {
        let mut sealed = whole.clone();
        let json = ("content-type", "application/json".to_owned());
        let place = sealed.headers.iter().position(|header| *header == json);
        if let (true, Some(place)) = (self.protobuf, place)
            && let Some(bytes) = serde_json::from_slice(&whole.body)
                .ok()
                .and_then(|object| protobuf::encode(&object))
        {
            sealed.headers[place].1 = MEDIA.to_owned();
            sealed.body = bytes;
        }
        sealed
    }

    /// One event of a watch.
    pub fn event(self, happened: &Happened) -> Vec<u8> {
        let Happened {
            event,
            object,
            version,
        } = happened;
        let (kind, api_version) = (object.kind.kind, object.kind.api_version());
        let same = object.version == *version;
        match (self.shape, self.protobuf) {
            (Shape::Object, true) => {
                let bytes = if same {
                    protobuf::envelope(&api_version, kind, object.message())
                } else {
                    protobuf::envelope(&api_version, kind, &object.message_at(*version))
                };
                protobuf::frame(event, &bytes)
            }
            (Shape::Object, false) => line(event, &object.whole_at(*version)).into_bytes(),
            (Shape::Metadata, _) => {
                let metadata = metadata_of(&object.whole_at(*version)).unwrap_or_default();
                self.framed(event, &metadata)
            }
            (Shape::Table, _) => line(event, &table_row(&object.whole_at(*version))).into_bytes(),
        }
    }

    /// The event with which a watch ends badly.
    pub fn error(self, status: &Whole) -> Vec<u8> {
        let status = serde_json::from_slice(&status.body).expect("a Status");
        self.framed("ERROR", &status)
    }

    fn framed(self, event: &str, object: &Value) -> Vec<u8> {
        match protobuf::encode(object) {
            Some(bytes) if self.protobuf => protobuf::frame(event, &bytes),
            _ => line(event, &object.to_string()).into_bytes(),
        }
    }

    /// A bookmark; the last bookmark of the first events carries the annotation.
    pub fn bookmark(self, kind: &Kind, version: u64, initial: bool) -> Vec<u8> {
        let object = bookmark(kind, version, initial);
        if self.protobuf {
            let object = serde_json::from_str(&object).expect("JSON");
            return self.framed("BOOKMARK", &object);
        }
        line("BOOKMARK", &object).into_bytes()
    }
}

/// The weight of a clause, in thousandths.
fn weight(clause: &str) -> u32 {
    let said = clause
        .split(';')
        .find_map(|part| part.trim().strip_prefix("q="));
    let weight = said.map_or(Some(1.0), |text| text.parse::<f64>().ok());
    (weight.unwrap_or_default() * 1000.0) as u32
}

/// A list in protobuf.
pub fn list<'a>(
    kind: &Kind,
    items: impl Iterator<Item = &'a [u8]>,
    version: u64,
    token: Option<String>,
    counted: Option<usize>,
) -> Whole {
    let mut meta = json!({"resourceVersion": version.to_string()});
    if let (Some(_), Some(count)) = (&token, counted) {
        meta["remainingItemCount"] = json!(count);
    }
    meta["continue"] = json!(token.unwrap_or_default());
    let meta = protobuf::write::message("ListMeta", &meta).expect("known");
    let mut message = Vec::new();
    protobuf::field(1, &meta, &mut message);
    for item in items {
        protobuf::field(2, item, &mut message);
    }
    let name = format!("{}List", kind.kind);
    Whole {
        status: 200,
        headers: vec![("content-type", MEDIA.into())],
        body: protobuf::envelope(&kind.api_version(), &name, &message),
    }
}

/// A Table with these objects as its rows.
pub fn table(objects: &[String], version: u64) -> String {
    let rows: Vec<Value> = objects
        .iter()
        .filter_map(|text| serde_json::from_str::<Value>(text).ok())
        .map(|object| json!({"cells": [object["metadata"]["name"]], "object": {
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]}}))
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": version.to_string()},
        "columnDefinitions": [{"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0}],
        "rows": rows,
    })
    .to_string()
}

/// A Table of one row, for a watch.
fn table_row(object: &str) -> String {
    let version = serde_json::from_str::<Value>(object)
        .ok()
        .and_then(|value| value["metadata"]["resourceVersion"].as_str()?.parse().ok())
        .unwrap_or_default();
    table(&[object.to_string()], version)
}

/// An object's metadata, as an object of its own.
pub fn metadata_of(object: &str) -> Option<Value> {
    let object: Value = serde_json::from_str(object).ok()?;
    Some(
        json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]}),
    )
}

/// The object of a bookmark.
fn bookmark(kind: &Kind, version: u64, initial: bool) -> String {
    let annotation = if initial {
        ",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}"
    } else {
        ""
    };
    let (name, api_version) = (kind.kind, kind.api_version());
    if kind.custom {
        let annotation = annotation.trim_start_matches(',');
        let comma = if initial { "," } else { "" };
        format!(
            "{{\"apiVersion\":\"{api_version}\",\"kind\":\"{name}\",\
             \"metadata\":{{{annotation}{comma}\"resourceVersion\":\"{version}\"}}}}"
        )
    } else {
        format!(
            "{{\"kind\":\"{name}\",\"apiVersion\":\"{api_version}\",\
             \"metadata\":{{\"resourceVersion\":\"{version}\"{annotation}}}{}}}",
            kind.blank
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Form;
    use super::Shape;

    #[test]
    fn the_first_clause_that_can_be_served_wins() {
        const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
        let form = |shape, protobuf| Some(Form { shape, protobuf });
        for (accept, built_in, custom) in [
            ("", form(Shape::Object, false), form(Shape::Object, false)),
            (PROTOBUF, form(Shape::Object, true), None),
            (
                "application/vnd.kubernetes.protobuf, */*",
                form(Shape::Object, true),
                form(Shape::Object, false),
            ),
            (
                "application/json;q=0.5,application/vnd.kubernetes.protobuf",
                form(Shape::Object, true),
                form(Shape::Object, false),
            ),
            (
                "application/vnd.kubernetes.protobuf;as=Table;v=v1,application/json",
                form(Shape::Object, false),
                form(Shape::Object, false),
            ),
            (
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1",
                form(Shape::Metadata, true),
                form(Shape::Metadata, true),
            ),
            ("text/html", None, None),
        ] {
            assert_eq!(Form::negotiated(accept, false), built_in, "{accept}");
            assert_eq!(Form::negotiated(accept, true), custom, "{accept}");
        }
    }
}
