//! Views of one object's bytes, and the few edits that are made to them: by span, never by decoding and encoding again. The
//! bytes tell their encoding.

use std::borrow::Cow;

use crate::k8s::encoding::Encoding;
use crate::k8s::object::ObjectKey;
use crate::k8s::object::ResourceVersion;
use crate::wire::error::Error;
use crate::wire::json::object as json;
use crate::wire::protobuf;
use crate::wire::protobuf::object as proto;

/// The annotation of the bookmark that ends a watch's initial events (KEP-3157).
pub(crate) const INITIAL_EVENTS_END: &[u8] = b"k8s.io/initial-events-end";

/// What `metadata` says, as far as it is needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectMeta {
    /// The object's `kind`, if it has one.
    pub kind: Option<String>,
    /// Its `apiVersion`, if it has one.
    pub api_version: Option<String>,
    /// `metadata.resourceVersion`, if it is one.
    pub resource_version: Option<ResourceVersion>,
    /// `metadata.labels`
    pub labels: Vec<(String, String)>,
    /// It is the bookmark that ends a watch's initial events.
    pub initial_events_end: bool,
}

/// Reads the object's metadata.
pub fn meta(object: &[u8]) -> Result<ObjectMeta, Error> {
    match Encoding::of(object) {
        Encoding::Json => json::meta(object),
        Encoding::Protobuf => proto::meta(object),
    }
}

/// The object's key and version; of JSON nothing behind its metadata is looked at.
pub fn key_and_version(object: &[u8]) -> Result<(ObjectKey, ResourceVersion), Error> {
    match Encoding::of(object) {
        Encoding::Json => json::key_and_version(object),
        Encoding::Protobuf => proto::key_and_version(object),
    }
}

/// The key of the object that this is, or that this shows: a Table's row and a Table's first row tell whose they are in
/// their `object`. `None` where that was not asked for (`includeObject=None`).
pub fn shown_key(bytes: &[u8]) -> Option<ObjectKey> {
    match Encoding::of(bytes) {
        Encoding::Json => json::shown_key(bytes),
        Encoding::Protobuf => proto::key_and_version(bytes).ok().map(|(key, _)| key),
    }
}

/// Whether the object says its own kind and version, as items of typed lists do not.
pub fn has_type(object: &[u8]) -> bool {
    match Encoding::of(object) {
        Encoding::Json => json::has_type(object),
        Encoding::Protobuf => object.starts_with(&protobuf::MAGIC),
    }
}

/// Kind, `apiVersion`, and the object as it would stand in a typed list; `None` for what does not begin in the server's typed
/// form, as custom resources do not: those stand in lists as they are.
pub fn without_type(object: &[u8]) -> Option<(String, String, Cow<'_, [u8]>)> {
    match Encoding::of(object) {
        Encoding::Json => json::without_type(object),
        Encoding::Protobuf => {
            let unknown = protobuf::open(object).ok()?;
            Some((
                unknown.kind.to_owned(),
                unknown.api_version.to_owned(),
                Cow::Borrowed(unknown.raw),
            ))
        }
    }
}

/// An item of a typed list as it would stand alone.
pub fn with_type(object: &[u8], kind: &str, api_version: &str) -> Vec<u8> {
    match Encoding::of(object) {
        Encoding::Json => json::with_type(object, kind, api_version),
        Encoding::Protobuf => {
            let mut out = Vec::new();
            protobuf::wrap(api_version, kind, object, &mut out);
            out
        }
    }
}

/// An item of a list at another version: the last state of a deleted object carries the version of its deletion.
pub fn with_resource_version(object: &[u8], version: ResourceVersion) -> Result<Vec<u8>, Error> {
    match Encoding::of(object) {
        Encoding::Json => json::with_resource_version(object, version),
        Encoding::Protobuf => proto::with_resource_version(object, version),
    }
}

/// Code and reason of a `Status`.
pub fn status_code_and_reason(object: &[u8]) -> Option<(u16, String)> {
    match Encoding::of(object) {
        Encoding::Json => json::status_code_and_reason(object),
        Encoding::Protobuf => protobuf::status::code_and_reason(object),
    }
}

/// The object's metadata alone, as it stands in the list of who asks for `PartialObjectMetadata` (meta.k8s.io/v1); the bytes of
/// the metadata are the object's own.
pub fn metadata_only(object: &[u8]) -> Result<Vec<u8>, Error> {
    match Encoding::of(object) {
        Encoding::Json => json::metadata_only(object),
        Encoding::Protobuf => proto::metadata_only(object),
    }
}

/// `metadata.name`; none when it is not there or empty, as where the server is to make one up.
pub fn name(object: &[u8]) -> Option<String> {
    let name = match Encoding::of(object) {
        Encoding::Json => json::text_at(object, &["metadata", "name"]),
        Encoding::Protobuf => proto::text_at(object, &[1, 1]),
    };
    name.ok().flatten().filter(|name| !name.is_empty())
}

/// `metadata.uid`; none when it is not there or empty.
pub fn uid(object: &[u8]) -> Option<String> {
    let uid = match Encoding::of(object) {
        Encoding::Json => json::text_at(object, &["metadata", "uid"]),
        Encoding::Protobuf => proto::text_at(object, &[1, 5]),
    };
    uid.ok().flatten().filter(|uid| !uid.is_empty())
}

/// Whether two states are of one object: it has one `metadata.uid` for its life.
pub fn is_same(one: &[u8], other: &[u8]) -> bool {
    match Encoding::of(one) {
        Encoding::Json => json::is_same(one, other),
        Encoding::Protobuf => proto::is_same(one, other),
    }
}
