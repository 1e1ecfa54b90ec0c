//! How answers are written: the one module that knows an encoding.

use serde_json::Value;

use super::history::Thing;
use crate::support::client::Answer;
use crate::support::client::Event;

/// An encoding that clients ask for.
pub(crate) struct Form {
    pub(crate) name: &'static str,
    /// What they say in `Accept`.
    pub(crate) accept: &'static str,
    /// Reads a list.
    pub(crate) list: fn(&Answer) -> Result<Listed, String>,
    /// Reads an event of a watch.
    pub(crate) event: fn(&Event) -> Result<Said, String>,
    /// Reads the code of a Status.
    pub(crate) code: fn(&Answer) -> Option<u64>,
}

/// What a list says.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) version: u64,
    pub(crate) things: Vec<Thing>,
    /// It is one page of several.
    pub(crate) more: bool,
}

/// What an event says.
#[derive(Debug)]
pub(crate) enum Said {
    Added(Thing),
    Modified(Thing),
    Deleted(Thing),
    /// All up to this version was told; `initial`: it ends the first events.
    Bookmark {
        version: u64,
        initial: bool,
    },
    /// A Status of this code.
    Error(u64),
}

/// `application/json`.
pub(crate) static JSON: Form = Form {
    name: "JSON",
    accept: "application/json, */*",
    list: json_list,
    event: json_event,
    code: |answer| {
        let status: Value = serde_json::from_slice(&answer.body).ok()?;
        (status["kind"] == "Status").then(|| status["code"].as_u64())?
    },
};

fn number(value: &Value) -> Option<u64> {
    value["metadata"]["resourceVersion"].as_str()?.parse().ok()
}

/// Whether objects are of a type that the server is built with: their kind is said once, for the list.
fn typed(api_version: &Value) -> bool {
    api_version
        .as_str()
        .is_some_and(|text| !text.contains("example"))
}

fn json_list(answer: &Answer) -> Result<Listed, String> {
    let mut list: Value =
        serde_json::from_slice(&answer.body).map_err(|error| format!("no list: {error}"))?;
    let version = number(&list).filter(|version| *version > 0);
    let version = version.ok_or_else(|| format!("a list without a version: {list:.300}"))?;
    let typed = typed(&list["apiVersion"]);
    let more = list["metadata"]["continue"]
        .as_str()
        .is_some_and(|token| !token.is_empty());
    let Value::Array(items) = list["items"].take() else {
        return Err(format!("a list without items: {list:.300}"));
    };
    let read = |item: Value| {
        let text = item.to_string();
        Thing::read(item, typed).ok_or_else(|| format!("an item that is no object: {text:.300}"))
    };
    Ok(Listed {
        version,
        things: items.into_iter().map(read).collect::<Result<_, _>>()?,
        more,
    })
}

fn json_event(event: &Event) -> Result<Said, String> {
    let object = event.object.clone();
    let bad = || format!("an event that can't be read: {:.300}", event.line);
    let made: fn(Thing) -> Said = match event.event.as_str() {
        "ADDED" => Said::Added,
        "MODIFIED" => Said::Modified,
        "DELETED" => Said::Deleted,
        "BOOKMARK" => {
            let initial = &object["metadata"]["annotations"]["k8s.io/initial-events-end"];
            return Ok(Said::Bookmark {
                version: number(&object).ok_or_else(bad)?,
                initial: initial == "true",
            });
        }
        "ERROR" => return object["code"].as_u64().map(Said::Error).ok_or_else(bad),
        _ => return Err(bad()),
    };
    let typed = typed(&object["apiVersion"]);
    Thing::read(object, typed).map(made).ok_or_else(bad)
}
