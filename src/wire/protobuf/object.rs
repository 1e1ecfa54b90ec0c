//! Views of one object in protobuf, and the few edits that are made to it. An object is a bare message, as lists hold it, or
//! stands alone with its envelope; both begin with their `ObjectMeta` as field 1.

use crate::k8s::object::ObjectKey;
use crate::k8s::object::ResourceVersion;
use crate::wire::error::Error;
use crate::wire::object::ObjectMeta;
use crate::wire::protobuf;
use crate::wire::protobuf::Field;
use crate::wire::protobuf::MAGIC;
use crate::wire::protobuf::Value;
use crate::wire::protobuf::put_bytes;

/// `metadata` of every object.
const METADATA: u32 = 1;
/// Fields of `ObjectMeta`.
const NAME: u32 = 1;
const NAMESPACE: u32 = 3;
const UID: u32 = 5;
const RESOURCE_VERSION: u32 = 6;
const LABELS: u32 = 11;
const ANNOTATIONS: u32 = 12;

/// The message itself, out of its envelope if it has one.
pub fn bare(object: &[u8]) -> Result<&[u8], Error> {
    if object.starts_with(&MAGIC) {
        protobuf::open(object).map(|unknown| unknown.raw)
    } else {
        Ok(object)
    }
}

fn metadata(object: &[u8]) -> Result<&[u8], Error> {
    match protobuf::find(bare(object)?, &[METADATA])? {
        Some(Value::Bytes(metadata)) => Ok(metadata),
        _ => Err(Error::malformed("an object without metadata")),
    }
}

/// Reads the object's metadata.
pub fn meta(object: &[u8]) -> Result<ObjectMeta, Error> {
    let mut meta = ObjectMeta::default();
    if object.starts_with(&MAGIC) {
        let unknown = protobuf::open(object)?;
        meta.kind = Some(unknown.kind.to_owned());
        meta.api_version = Some(unknown.api_version.to_owned());
    }
    for field in protobuf::fields(metadata(object)?) {
        let field = field?;
        match field.number {
            RESOURCE_VERSION => {
                meta.resource_version = field.text().and_then(ResourceVersion::parse);
            }
            LABELS => {
                let (key, value) = entry(&field)?;
                meta.labels.push((key.to_owned(), value.to_owned()));
            }
            ANNOTATIONS => {
                let (key, value) = entry(&field)?;
                if key.as_bytes() == crate::wire::object::INITIAL_EVENTS_END {
                    meta.initial_events_end = value == "true";
                }
            }
            _ => {}
        }
    }
    Ok(meta)
}

/// An entry of a map of texts; what is left out is empty.
fn entry<'a>(field: &Field<'a>) -> Result<(&'a str, &'a str), Error> {
    let (mut key, mut value) = ("", "");
    for part in protobuf::fields(field.bytes().unwrap_or_default()) {
        let part = part?;
        let text = part
            .text()
            .ok_or(Error::malformed("a map whose entries are no texts"))?;
        match part.number {
            1 => key = text,
            2 => value = text,
            _ => {}
        }
    }
    Ok((key, value))
}

/// The object's key and version.
pub fn key_and_version(object: &[u8]) -> Result<(ObjectKey, ResourceVersion), Error> {
    let (mut namespace, mut name, mut version) = ("", "", None);
    for field in protobuf::fields(metadata(object)?) {
        let field = field?;
        match field.number {
            NAME => name = field.text().unwrap_or_default(),
            NAMESPACE => namespace = field.text().unwrap_or_default(),
            RESOURCE_VERSION => version = field.text().and_then(ResourceVersion::parse),
            _ => {}
        }
    }
    if name.is_empty() {
        return Err(Error::malformed("an object without a name"));
    }
    let version = version.ok_or(Error::malformed(
        "an object without a resourceVersion that is a number",
    ))?;
    Ok((ObjectKey::new(namespace, name), version))
}

/// The text of the scalar at `path`, numbers in digits; `None` for a message or when there is nothing. A truth value is
/// the number 0 or 1.
pub fn text_at(object: &[u8], path: &[u32]) -> Result<Option<String>, Error> {
    Ok(match protobuf::find(bare(object)?, path)? {
        Some(Value::Varint(number)) => Some(number.to_string()),
        Some(Value::Bytes(text)) => std::str::from_utf8(text).ok().map(str::to_owned),
        Some(Value::Fixed(_)) | None => None,
    })
}

/// A bare object at another version: the last state of a deleted object carries the version of its deletion.
pub fn with_resource_version(object: &[u8], version: ResourceVersion) -> Result<Vec<u8>, Error> {
    let mut stamped = false;
    let mut metadata = Vec::new();
    for field in protobuf::fields(self::metadata(object)?) {
        let field = field?;
        if field.number != RESOURCE_VERSION {
            metadata.extend_from_slice(field.span);
        } else if !std::mem::replace(&mut stamped, true) {
            put_bytes(
                RESOURCE_VERSION,
                version.to_string().as_bytes(),
                &mut metadata,
            );
        }
    }
    if !stamped {
        return Err(Error::malformed("an object without a resourceVersion"));
    }
    let mut out = Vec::with_capacity(object.len() + 8);
    let mut placed = false;
    for field in protobuf::fields(bare(object)?) {
        let field = field?;
        if field.number != METADATA {
            out.extend_from_slice(field.span);
        } else if !std::mem::replace(&mut placed, true) {
            put_bytes(METADATA, &metadata, &mut out);
        }
    }
    Ok(out)
}

/// The bare `PartialObjectMetadata` of an object: its metadata, bytes unchanged.
pub fn metadata_only(object: &[u8]) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    put_bytes(METADATA, metadata(object)?, &mut out);
    Ok(out)
}

/// Whether two states are of one object: it has one `metadata.uid` for its life.
pub fn is_same(one: &[u8], other: &[u8]) -> bool {
    fn uid(object: &[u8]) -> Option<&[u8]> {
        match protobuf::find(metadata(object).ok()?, &[UID]).ok()? {
            Some(Value::Bytes(uid)) => Some(uid),
            _ => None,
        }
    }
    uid(one) == uid(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::protobuf::put_number;

    const POD: &[u8] = include_bytes!("../../../tests/golden/get_pod_protobuf.body");
    const JSON: &[u8] = include_bytes!("../../../tests/golden/get_pod_json.body");

    #[test]
    fn a_pod_says_in_protobuf_what_it_says_in_json() {
        let bare = bare(POD).expect("a pod");
        let known = crate::wire::object::key_and_version(JSON).expect("a pod");
        assert_eq!(key_and_version(bare), Ok(known.clone()));
        assert_eq!(key_and_version(POD), Ok(known));
        let (ours, theirs) = (
            meta(POD).expect("a pod"),
            crate::wire::object::meta(JSON).expect("a pod"),
        );
        assert_eq!(ours.labels, theirs.labels);
        assert_eq!(
            (ours.kind, ours.api_version, ours.resource_version),
            (theirs.kind, theirs.api_version, theirs.resource_version)
        );
        for (numbers, names) in [
            (&[2, 10][..], &["spec", "nodeName"][..]),
            (&[2, 3], &["spec", "restartPolicy"]),
            (&[3, 1], &["status", "phase"]),
            (&[3, 6], &["status", "podIP"]),
        ] {
            let theirs = crate::wire::json::object::text_at(JSON, names).expect("a pod");
            let ours = text_at(bare, numbers)
                .expect("a pod")
                .filter(|text| !text.is_empty());
            assert_eq!(ours, theirs, "{names:?}");
        }
    }

    #[test]
    fn another_version_changes_the_version_alone() {
        let bare = bare(POD).expect("a pod");
        let (key, version) = key_and_version(bare).expect("a pod");
        for other in [ResourceVersion(7), ResourceVersion(u64::MAX)] {
            let stamped = with_resource_version(bare, other).expect("a pod");
            assert_eq!(key_and_version(&stamped), Ok((key.clone(), other)));
            assert_eq!(
                with_resource_version(&stamped, version).as_deref(),
                Ok(bare)
            );
            assert!(is_same(bare, &stamped));
        }
    }

    #[test]
    fn unknown_fields_survive() {
        let mut object = bare(POD).expect("a pod").to_vec();
        put_bytes(5000, b"of a later Kubernetes", &mut object);
        let stamped = with_resource_version(&object, ResourceVersion(1)).expect("a pod");
        assert!(stamped.ends_with(b"of a later Kubernetes"));
        let mut metadata = Vec::new();
        put_bytes(1, b"a", &mut metadata);
        put_bytes(6, b"5", &mut metadata);
        put_number(99, 7, &mut metadata);
        let mut object = Vec::new();
        put_bytes(1, &metadata, &mut object);
        let stamped = with_resource_version(&object, ResourceVersion(6)).expect("an object");
        assert_eq!(stamped.len(), object.len());
        assert_eq!(text_at(&stamped, &[1, 99]), Ok(Some("7".to_owned())));
        assert_eq!(metadata_only(&object), Ok(object.clone()));
    }

    #[test]
    fn objects_of_different_lives_differ() {
        let of = |uid: &[u8]| {
            let (mut metadata, mut object) = (Vec::new(), Vec::new());
            put_bytes(5, uid, &mut metadata);
            put_bytes(1, &metadata, &mut object);
            object
        };
        assert!(is_same(&of(b"a"), &of(b"a")) && !is_same(&of(b"a"), &of(b"b")));
    }

    #[test]
    fn what_is_no_object_is_an_error() {
        for bad in [
            &b""[..],
            b"k8s\0",
            b"\x12\0",
            b"\x0a\x05",
            b"\x08\x01",
            b"\x0a\x02\x0a\x00",
        ] {
            assert!(key_and_version(bad).is_err(), "{bad:x?}");
            assert!(
                with_resource_version(bad, ResourceVersion(1)).is_err(),
                "{bad:x?}"
            );
        }
    }
}
