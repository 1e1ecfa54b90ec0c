//! Creates, updates, patches and deletes through the fake server's door.

use serde_json::Value;
use serde_json::json;

use super::answer::Ask;
use super::answer::Whole;
use super::answer::details;
use super::answer::failure;
use super::answer::filter_of;
use super::answer::not_found;
use super::kind::Kind;
use super::store::Store;
use super::token;
use crate::support::protobuf;

/// The largest body that is read.
const LARGEST: usize = 3 << 20;

/// Answers a request that is not a GET.
pub fn answer(
    store: &mut Store,
    ask: &Ask,
    kind: &'static Kind,
    namespace: &str,
    name: Option<String>,
    subresource: &str,
) -> Whole {
    let outcome = match (ask.method.as_str(), name) {
        ("POST", Some(name)) if subresource == "token" => {
            token::answer(store, ask, namespace, &name)
        }
        ("POST", None) => create(store, ask, kind, namespace),
        ("PUT", Some(name)) => update(store, ask, kind, namespace, &name),
        ("PATCH", Some(name)) => patch(store, ask, kind, namespace, &name),
        ("DELETE", Some(name)) => delete(store, kind, namespace, &name),
        ("DELETE", None) => delete_collection(store, ask, kind, namespace),
        _ => Err(failure(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
            Some(json!({})),
        )),
    };
    outcome.unwrap_or_else(|fault| fault)
}

fn body_of(ask: &Ask) -> Result<Value, Whole> {
    if ask.body.len() > LARGEST {
        let message = format!("Request entity too large: limit is {LARGEST}");
        return Err(failure(413, "RequestEntityTooLarge", &message, None));
    }
    let read = if ask.content_type.starts_with(protobuf::MEDIA) {
        protobuf::decode(&ask.body)
    } else {
        serde_json::from_slice(&ask.body).map_err(|error| error.to_string())
    };
    read.map_err(|error| {
        let message = format!("the object provided is unrecognized: {error}");
        failure(400, "BadRequest", &message, None)
    })
}

fn echo(store: &Store, kind: &Kind, namespace: &str, name: &str, status: u16) -> Whole {
    let object = store.find(kind, namespace, name);
    let text = object.map_or_else(String::new, |object| object.whole());
    Whole::json(status, format!("{text}\n"))
}

fn create(
    store: &mut Store,
    ask: &Ask,
    kind: &'static Kind,
    namespace: &str,
) -> Result<Whole, Whole> {
    let mut object = body_of(ask)?;
    let given = object["metadata"]["name"].as_str().unwrap_or_default();
    let name = match object["metadata"]["generateName"].as_str() {
        Some(prefix) if given.is_empty() => format!("{prefix}{:05}", store.version()),
        _ => given.to_string(),
    };
    if name.is_empty() {
        let message = format!(
            "{} \"\" is invalid: metadata.name: Required value: name or generateName is required",
            kind.kind
        );
        return Err(failure(422, "Invalid", &message, Some(details(kind, ""))));
    }
    if store.find(kind, namespace, &name).is_some() {
        let message = format!("{} \"{name}\" already exists", kind.qualified());
        return Err(failure(
            409,
            "AlreadyExists",
            &message,
            Some(details(kind, &name)),
        ));
    }
    object["metadata"]["name"] = json!(name);
    if kind.namespaced {
        object["metadata"]["namespace"] = json!(namespace);
    }
    store.put(kind, object);
    Ok(echo(store, kind, namespace, &name, 201))
}

fn update(
    store: &mut Store,
    ask: &Ask,
    kind: &'static Kind,
    namespace: &str,
    name: &str,
) -> Result<Whole, Whole> {
    let mut object = body_of(ask)?;
    let Some(before) = store.find(kind, namespace, name) else {
        return Err(not_found(kind, name));
    };
    let given = object["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or_default();
    if !given.is_empty() && given != before.version.to_string() {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": the object has been modified; please apply your changes \
             to the latest version and try again",
            kind.qualified()
        );
        return Err(failure(
            409,
            "Conflict",
            &message,
            Some(details(kind, name)),
        ));
    }
    object["metadata"]["name"] = json!(name);
    if kind.namespaced {
        object["metadata"]["namespace"] = json!(namespace);
    }
    store.put(kind, object);
    Ok(echo(store, kind, namespace, name, 200))
}

fn patch(
    store: &mut Store,
    ask: &Ask,
    kind: &'static Kind,
    namespace: &str,
    name: &str,
) -> Result<Whole, Whole> {
    if !ask.content_type.contains("merge-patch") {
        let message = "the body of the request was in an unknown format - accepted media types include: \
                       application/merge-patch+json, application/strategic-merge-patch+json";
        return Err(failure(415, "UnsupportedMediaType", message, None));
    }
    let patch = body_of(ask)?;
    match store.patch(kind, namespace, name, &patch) {
        Some(_) => Ok(echo(store, kind, namespace, name, 200)),
        None => Err(not_found(kind, name)),
    }
}

fn delete(store: &mut Store, kind: &Kind, namespace: &str, name: &str) -> Result<Whole, Whole> {
    let Some((object, _)) = store.delete(kind, namespace, name) else {
        return Err(not_found(kind, name));
    };
    let mut details = details(kind, name);
    details["uid"] = object.value["metadata"]["uid"].clone();
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
    });
    Ok(Whole::json(200, format!("{status}\n")))
}

fn delete_collection(
    store: &mut Store,
    ask: &Ask,
    kind: &'static Kind,
    namespace: &str,
) -> Result<Whole, Whole> {
    let filter = filter_of(ask, kind, namespace.into())?;
    let mut items = Vec::new();
    for object in store.select(&filter) {
        store.delete(kind, &object.namespace, &object.name);
        items.push(object.item());
    }
    let version = store.version();
    Ok(Whole::json(
        200,
        format!(
            "{{\"kind\":\"{}List\",\"apiVersion\":\"{}\",\"metadata\":{{\"resourceVersion\":\"{version}\"}},\
             \"items\":[{}]}}\n",
            kind.kind,
            kind.api_version(),
            items.join(",")
        ),
    ))
}
