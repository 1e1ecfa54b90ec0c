//! `Status` in protobuf: what the API server answers instead of an object.

use crate::k8s::status::Status;
use crate::wire::protobuf;
use crate::wire::protobuf::Value;
use crate::wire::protobuf::put_bytes;
use crate::wire::protobuf::put_number;

/// A `Status` in the bytes that the API server would send, envelope included.
pub fn encode(status: &Status) -> Vec<u8> {
    let mut out = Vec::new();
    // An empty ListMeta: selfLink, resourceVersion, continue.
    put_bytes(1, b"\x0a\0\x12\0\x1a\0", &mut out);
    put_bytes(2, b"Failure", &mut out);
    put_bytes(3, status.message.as_bytes(), &mut out);
    put_bytes(4, status.reason_text().as_bytes(), &mut out);
    if let Some(details) = details(status) {
        put_bytes(5, &details, &mut out);
    }
    put_number(6, u64::from(status.code), &mut out);
    let mut bytes = Vec::new();
    protobuf::wrap("v1", "Status", &out, &mut bytes);
    bytes
}

fn details(status: &Status) -> Option<Vec<u8>> {
    let object = status.object();
    let seconds = status.retry_after_seconds;
    if object.is_none() && status.cause().is_none() && seconds.is_none() {
        return None;
    }
    let (name, group, kind) = object.unwrap_or_default();
    let mut out = Vec::new();
    put_bytes(1, name.as_bytes(), &mut out);
    put_bytes(2, group.as_bytes(), &mut out);
    put_bytes(3, kind.as_bytes(), &mut out);
    if let Some((reason, message)) = status.cause() {
        let mut cause = Vec::new();
        put_bytes(1, reason.as_bytes(), &mut cause);
        put_bytes(2, message.as_bytes(), &mut cause);
        put_bytes(3, b"", &mut cause);
        put_bytes(4, &cause, &mut out);
    }
    put_number(5, u64::from(seconds.unwrap_or(0)), &mut out);
    put_bytes(6, b"", &mut out);
    Some(out)
}

/// Code and reason of a `Status` that stands alone.
pub(crate) fn code_and_reason(bytes: &[u8]) -> Option<(u16, String)> {
    let unknown = protobuf::open(bytes).ok()?;
    let Some(Value::Varint(code)) = protobuf::find(unknown.raw, &[6]).ok()? else {
        return None;
    };
    let reason = match protobuf::find(unknown.raw, &[4]).ok()? {
        Some(Value::Bytes(reason)) => std::str::from_utf8(reason).ok()?.to_owned(),
        _ => String::new(),
    };
    Some((u16::try_from(code).ok()?, reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::object::ResourceVersion;
    use crate::k8s::resource::GroupVersionResource;
    use crate::wire::protobuf::watch;

    #[test]
    fn statuses_are_the_servers_byte_for_byte() {
        let pods = GroupVersionResource::new("", "v1", "pods");
        let missing = encode(&Status::not_found(&pods, "none"));
        let golden = include_bytes!("../../../tests/golden/get_missing_protobuf.body");
        assert_eq!(missing, golden);
        assert_eq!(
            code_and_reason(&missing),
            Some((404, "NotFound".to_owned()))
        );
        let mut expired = Vec::new();
        let status = Status::expired("too old resource version: 1 (734)");
        watch::encode("ERROR", &encode(&status), &mut expired);
        let golden = include_bytes!("../../../tests/golden/watch_expired_protobuf.body");
        assert_eq!(expired, golden);
        let mut future = Vec::new();
        let mut status =
            Status::too_large_version(ResourceVersion(999_999_999), ResourceVersion(718));
        // Ours has none, so that clients ask again with no version.
        status.retry_after_seconds = Some(1);
        watch::encode("ERROR", &encode(&status), &mut future);
        let golden = include_bytes!("../../../tests/golden/watch_future_rv_protobuf.body");
        assert_eq!(future, golden);
        let golden = include_bytes!("../../../tests/golden/list_cameras_protobuf_only.body");
        assert_eq!(
            code_and_reason(golden),
            Some((406, "NotAcceptable".to_owned()))
        );
    }

    #[test]
    fn what_is_no_status_has_no_code() {
        let pod = include_bytes!("../../../tests/golden/get_pod_protobuf.body");
        assert_eq!(code_and_reason(pod), None);
        assert_eq!(code_and_reason(b"k8s\0"), None);
        assert_eq!(code_and_reason(b"{}"), None);
    }
}
