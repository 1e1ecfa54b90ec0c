//! Views of one object in JSON, and the few edits that are made to it: by span, never by decoding and encoding again.

use std::borrow::Cow;

use crate::k8s::object::ObjectKey;
use crate::k8s::object::ResourceVersion;
use crate::k8s::status::quote;
use crate::wire::error::Error;
use crate::wire::json;
use crate::wire::object::INITIAL_EVENTS_END;
use crate::wire::object::ObjectMeta;

/// Reads the object's metadata.
pub fn meta(object: &[u8]) -> Result<ObjectMeta, Error> {
    let mut meta = ObjectMeta::default();
    for pair in json::members(object) {
        match pair? {
            (b"kind", value) => meta.kind = owned(value),
            (b"apiVersion", value) => meta.api_version = owned(value),
            (b"metadata", value) => {
                for pair in json::members(value) {
                    match pair? {
                        (b"resourceVersion", value) => {
                            meta.resource_version =
                                json::text(value).and_then(|text| ResourceVersion::parse(&text));
                        }
                        (b"labels", value) if value.starts_with(b"{") => {
                            meta.labels = strings(value)?
                        }
                        (b"annotations", value) if value.starts_with(b"{") => {
                            meta.initial_events_end =
                                json::member(value, INITIAL_EVENTS_END)? == Some(b"\"true\"");
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Ok(meta)
}

fn owned(value: &[u8]) -> Option<String> {
    json::text(value).map(Cow::into_owned)
}

fn strings(object: &[u8]) -> Result<Vec<(String, String)>, Error> {
    let mut strings = Vec::new();
    for pair in json::members(object) {
        let (key, value) = pair?;
        let key = [b"\"", key, b"\""].concat();
        if let (Some(key), Some(value)) = (owned(&key), owned(value)) {
            strings.push((key, value));
        }
    }
    Ok(strings)
}

/// The object's key and version; nothing behind its metadata is looked at.
pub fn key_and_version(object: &[u8]) -> Result<(ObjectKey, ResourceVersion), Error> {
    // Looked at only as far as it must be: the server writes what is wanted before what is long.
    let metadata = json::from_member(object, b"metadata")?;
    let metadata = metadata.ok_or(Error::malformed("an object without metadata"))?;
    let (mut namespace, mut name, mut version) = (None, None, None);
    for pair in json::members(metadata) {
        match pair? {
            (b"namespace", value) => namespace = json::text(value),
            (b"name", value) => name = json::text(value),
            (b"resourceVersion", value) => {
                version = json::text(value).and_then(|text| ResourceVersion::parse(&text))
            }
            _ => {}
        }
        if namespace.is_some() && name.is_some() && version.is_some() {
            break;
        }
    }
    let name = name.ok_or(Error::malformed("an object without a name"))?;
    let version = version.ok_or(Error::malformed(
        "an object without a resourceVersion that is a number",
    ))?;
    Ok((
        ObjectKey::new(&namespace.unwrap_or_default(), &name),
        version,
    ))
}

/// The key of the object that this is, or that this shows: a Table's row and a Table's first row tell whose they are in
/// their `object`. `None` where that was not asked for (`includeObject=None`).
pub fn shown_key(bytes: &[u8]) -> Option<ObjectKey> {
    shown(bytes, 2)
}

/// Looks so many levels deeper: a Table's row is one, its object another. Each level reads all that is below it.
fn shown(bytes: &[u8], levels: u8) -> Option<ObjectKey> {
    let mut name = None;
    for (member, value) in json::members(bytes).map_while(Result::ok) {
        match member {
            b"metadata" => {
                let text = |name| {
                    json::member(value, name)
                        .ok()
                        .flatten()
                        .and_then(json::text)
                };
                name = text(b"name")
                    .map(|name| ObjectKey::new(&text(b"namespace").unwrap_or_default(), &name));
                if name.is_some() {
                    break;
                }
            }
            b"object" | b"rows" => {
                let value = value.strip_prefix(b"[").unwrap_or(value);
                return shown(value, levels.checked_sub(1)?);
            }
            _ => {}
        }
    }
    name
}

/// The text of the scalar at `path`: strings unescaped, numbers and booleans as they stand. A number in the path is a place
/// in an array.
pub fn text_at(object: &[u8], path: &[&str]) -> Result<Option<String>, Error> {
    let mut value = object;
    for step in path {
        if !value.starts_with(b"{") {
            return Ok(None);
        }
        match json::member(value, step.as_bytes())? {
            Some(member) => value = member,
            None => return Ok(None),
        }
    }
    Ok(match value.first() {
        Some(b'"') => owned(value),
        Some(b'{' | b'[' | b'n') | None => None,
        Some(_) => std::str::from_utf8(value).ok().map(str::to_owned),
    })
}

/// Whether the object says its own kind and version, as items of typed lists do not.
pub fn has_type(object: &[u8]) -> bool {
    // The server writes the type first, so what begins with its metadata has none; anything else is looked through.
    if object.starts_with(b"{\"metadata\":") {
        return false;
    }
    let mut found = [false; 2];
    for pair in json::members(object).map_while(Result::ok) {
        match pair.0 {
            b"kind" => found[0] = true,
            b"apiVersion" => found[1] = true,
            _ => {}
        }
        if found == [true; 2] {
            return true;
        }
    }
    false
}

/// Kind, `apiVersion`, and the object as it would stand in a typed list; `None` for what does not begin in the server's typed
/// form, as custom resources do not: those stand in lists as they are.
pub fn without_type(object: &[u8]) -> Option<(String, String, Cow<'_, [u8]>)> {
    let rest = object.strip_prefix(b"{\"kind\":")?;
    let (kind, rest) = quoted(rest)?;
    let (api_version, rest) = quoted(rest.strip_prefix(b",\"apiVersion\":")?)?;
    let rest = match rest.split_first()? {
        (b',', rest) => [b"{", rest].concat(),
        (b'}', []) => b"{}".to_vec(),
        _ => return None,
    };
    Some((kind, api_version, Cow::Owned(rest)))
}

/// A string without escapes at the start of `bytes`, and what follows it.
fn quoted(bytes: &[u8]) -> Option<(String, &[u8])> {
    let inner = bytes.strip_prefix(b"\"")?;
    let end = inner.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    let (text, rest) = inner.split_at(end);
    Some((
        std::str::from_utf8(text).ok()?.to_owned(),
        rest.strip_prefix(b"\"")?,
    ))
}

/// An item of a typed list as it would stand alone.
pub fn with_type(object: &[u8], kind: &str, api_version: &str) -> Vec<u8> {
    let rest = object.strip_prefix(b"{").unwrap_or(object);
    let comma = if rest.trim_ascii_start().starts_with(b"}") {
        ""
    } else {
        ","
    };
    let mut out = Vec::with_capacity(object.len() + kind.len() + api_version.len() + 32);
    out.extend_from_slice(
        format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}"{comma}"#).as_bytes(),
    );
    out.extend_from_slice(rest);
    out
}

/// The object at another version: the last state of a deleted object carries the version of its deletion.
pub fn with_resource_version(object: &[u8], version: ResourceVersion) -> Result<Vec<u8>, Error> {
    // Looked at only as far as it must be: the server writes what is wanted before what is long.
    let metadata = json::from_member(object, b"metadata")?;
    let metadata = metadata.ok_or(Error::malformed("an object without metadata"))?;
    let value = json::member(metadata, b"resourceVersion")?
        .ok_or(Error::malformed("an object without a resourceVersion"))?;
    // Both are slices of `object`, so where the value starts is how far it is into it.
    let start = value.as_ptr() as usize - object.as_ptr() as usize;
    let mut out = Vec::with_capacity(object.len() + 8);
    out.extend_from_slice(&object[..start]);
    out.extend_from_slice(format!("\"{version}\"").as_bytes());
    out.extend_from_slice(&object[start + value.len()..]);
    Ok(out)
}

/// Code and reason of a `Status`.
pub fn status_code_and_reason(object: &[u8]) -> Option<(u16, String)> {
    let code = text_at(object, &["code"]).ok()??.parse().ok()?;
    Some((code, text_at(object, &["reason"]).ok()?.unwrap_or_default()))
}

/// The object's metadata alone, as the API server answers who asks for `PartialObjectMetadata` (meta.k8s.io/v1); the bytes of
/// the metadata are the object's own.
pub fn metadata_only(object: &[u8]) -> Result<Vec<u8>, Error> {
    let metadata = json::member(object, b"metadata")?
        .ok_or_else(|| Error::malformed("an object without metadata"))?;
    let head = br#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":"#;
    Ok([head, metadata, b"}"].concat())
}

/// An object of which nothing is known but a patch in JSON and its name: the patch's members, and the type and name that it
/// need not say. `None` when the patch is no JSON object (a JSON Patch is a list).
pub fn patched(
    patch: &[u8],
    kind: &str,
    api_version: &str,
    namespace: &str,
    name: &str,
) -> Option<Vec<u8>> {
    let patch = patch.trim_ascii();
    if !patch.starts_with(b"{") {
        return None;
    }
    let mut text = String::new();
    for (before, value) in [
        ("{\"kind\":", kind),
        (",\"apiVersion\":", api_version),
        (",\"metadata\":{\"name\":", name),
        (",\"namespace\":", namespace),
    ] {
        text.push_str(before);
        quote(value, &mut text);
    }
    text.push('}');
    let mut out = text.into_bytes();
    for pair in json::members(patch) {
        let (key, value) = pair.ok()?;
        if !matches!(key, b"kind" | b"apiVersion" | b"metadata") {
            out.extend_from_slice(&[b",\"", key, b"\":", value].concat());
        }
    }
    out.extend_from_slice(b"}\n");
    Some(out)
}

/// Whether two states are of one object: it has one `metadata.uid` for its life.
pub fn is_same(one: &[u8], other: &[u8]) -> bool {
    fn uid(object: &[u8]) -> Option<&[u8]> {
        let metadata = json::member(object, b"metadata").ok()??;
        json::member(metadata, b"uid").ok()?
    }
    uid(one) == uid(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &[u8] = include_bytes!("../../../tests/golden/get_pod_json.body");

    fn pod() -> &'static [u8] {
        POD.trim_ascii_end()
    }

    #[test]
    fn a_real_pod_is_read() {
        let (key, version) = key_and_version(pod()).expect("a pod");
        let value: serde_json::Value = serde_json::from_slice(pod()).expect("JSON");
        let metadata = &value["metadata"];
        assert_eq!((key.namespace(), key.name()), ("edge-apps", "app-000"));
        assert_eq!(
            Some(version.to_string().as_str()),
            metadata["resourceVersion"].as_str()
        );
        let meta = meta(pod()).expect("a pod");
        assert_eq!(
            (meta.kind.as_deref(), meta.api_version.as_deref()),
            (Some("Pod"), Some("v1"))
        );
        assert_eq!(
            meta.labels.len(),
            metadata["labels"]
                .as_object()
                .map_or(0, serde_json::Map::len)
        );
        assert!(!meta.initial_events_end);
        assert_eq!(
            text_at(pod(), &["spec", "nodeName"]),
            Ok(Some("edge-00".to_owned()))
        );
        assert_eq!(text_at(pod(), &["spec"]), Ok(None));
        assert_eq!(text_at(pod(), &["spec", "nodeName", "x"]), Ok(None));
    }

    #[test]
    fn the_type_is_taken_off_and_put_on_without_a_trace() {
        let (kind, api_version, rest) = without_type(pod()).expect("the typed form");
        assert!(has_type(pod()) && !has_type(&rest));
        assert_eq!(with_type(&rest, &kind, &api_version), pod());
        let (_, _, rest) =
            without_type(br#"{"kind":"A","apiVersion":"v1"}"#).expect("the typed form");
        assert_eq!(&*rest, b"{}");
        assert_eq!(
            with_type(b"{}", "A", "v1"),
            br#"{"kind":"A","apiVersion":"v1"}"#
        );
        let custom = br#"{"apiVersion":"a/v1","kind":"A","metadata":{}}"#;
        assert!(without_type(custom).is_none() && has_type(custom));
        assert!(!has_type(br#"{"spec":{"kind":"a","apiVersion":"b"}}"#));
    }

    #[test]
    fn rows_and_tables_show_whose_they_are() {
        let key = shown_key(pod()).expect("a pod");
        assert_eq!(key.as_str(), "edge-apps/app-000");
        let table: &[u8] = include_bytes!("../../../tests/golden/list_pods_table.body");
        let value: serde_json::Value = serde_json::from_slice(table).expect("JSON");
        let row = value["rows"][0].to_string();
        let name = value["rows"][0]["object"]["metadata"]["name"]
            .as_str()
            .expect("a name");
        assert_eq!(shown_key(row.as_bytes()).expect("a row").name(), name);
        assert_eq!(shown_key(table).expect("a table").name(), name);
        assert_eq!(shown_key(br#"{"cells":["a"]}"#), None);
        // Each level is read once more: no more of them are followed than a Table has.
        let deeper = br#"{"rows":[{"object":{"object":{"metadata":{"name":"a"}}}}]}"#;
        assert_eq!(shown_key(deeper), None);
        assert_eq!(
            shown_key(br#"{"kind":"Table","metadata":{"resourceVersion":"1"},"rows":[]}"#),
            None
        );
    }

    #[test]
    fn only_the_version_is_edited() {
        let object = br#"{"spec":{"resourceVersion":"1"},"metadata":{"resourceVersion" : "9","name":"a"},"x":1}"#;
        assert_eq!(
            with_resource_version(object, ResourceVersion(1234)).as_deref(),
            Ok(&br#"{"spec":{"resourceVersion":"1"},"metadata":{"resourceVersion" : "1234","name":"a"},"x":1}"#[..])
        );
        assert!(with_resource_version(br#"{"metadata":{}}"#, ResourceVersion(1)).is_err());
    }

    #[test]
    fn objects_without_a_key_or_a_version_are_refused_by_name() {
        for (object, what) in [
            (r#"{}"#, "an object without metadata"),
            (
                r#"{"metadata":{"resourceVersion":"1"}}"#,
                "an object without a name",
            ),
            (
                r#"{"metadata":{"name":"a"}}"#,
                "an object without a resourceVersion that is a number",
            ),
            (
                r#"{"metadata":{"name":"a","resourceVersion":"x"}}"#,
                "an object without a resourceVersion that is a number",
            ),
        ] {
            assert_eq!(
                key_and_version(object.as_bytes()),
                Err(Error::malformed(what)),
                "{object}"
            );
        }
        let cluster =
            key_and_version(br#"{"metadata":{"name":"n","resourceVersion":"1"}}"#).expect("right");
        assert_eq!(cluster.0.as_str(), "/n");
    }

    #[test]
    fn bookmarks_and_statuses_are_understood() {
        let bookmark = br#"{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"7","annotations":{"k8s.io/initial-events-end":"true"}}}"#;
        let meta = meta(bookmark).expect("a bookmark");
        assert!(meta.initial_events_end && meta.resource_version == Some(ResourceVersion(7)));
        let status = include_bytes!("../../../tests/golden/get_missing_json.body");
        assert_eq!(
            status_code_and_reason(status),
            Some((404, "NotFound".to_owned()))
        );
        assert_eq!(status_code_and_reason(b"{}"), None);
    }

    #[test]
    fn a_patch_and_a_name_make_an_event() {
        let event = |patch: &[u8]| patched(patch, "Event", "v1", "a", "e.1");
        let made = event(br#" {"count":7,"metadata":{"x":1},"message":"b\"c"} "#).expect("JSON");
        let made: serde_json::Value = serde_json::from_slice(&made).expect("JSON");
        assert_eq!(
            made,
            serde_json::json!({"kind": "Event", "apiVersion": "v1", "metadata": {"name": "e.1", "namespace": "a"},
                "count": 7, "message": "b\"c"})
        );
        assert_eq!(event(b"[]"), None);
        assert_eq!(event(b"{\"a\""), None);
    }
}
