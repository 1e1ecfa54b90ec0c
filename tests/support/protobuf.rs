//! Kubernetes' protobuf as the fake server and the raw client speak it: from JSON by a schema and back. Written apart from the
//! product's, whose reader knows no schema, so that the two do not share their blind spots.

pub mod read;
pub mod schema;
pub mod time;
pub mod write;

use serde_json::Value;
use serde_json::json;

/// The media type of an object or a list.
pub const MEDIA: &str = "application/vnd.kubernetes.protobuf";
/// The media type of a watch.
pub const STREAM: &str = "application/vnd.kubernetes.protobuf;stream=watch";
/// What a client accepts that would rather have protobuf.
pub const PREFERRED: &str = "application/vnd.kubernetes.protobuf,application/json";

/// What stands before an object that stands alone.
const MAGIC: &[u8] = b"k8s\0";

/// A field that holds bytes.
pub fn field(number: u64, bytes: &[u8], out: &mut Vec<u8>) {
    varint(number << 3 | 2, out);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// A number.
pub fn varint(mut value: u64, out: &mut Vec<u8>) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// An object or a list that stands alone: magic, type, message.
pub fn envelope(api_version: &str, kind: &str, message: &[u8]) -> Vec<u8> {
    let (mut type_meta, mut out) = (Vec::new(), MAGIC.to_vec());
    field(1, api_version.as_bytes(), &mut type_meta);
    field(2, kind.as_bytes(), &mut type_meta);
    field(1, &type_meta, &mut out);
    field(2, message, &mut out);
    field(3, b"", &mut out);
    field(4, b"", &mut out);
    out
}

/// An object or a list in JSON, with its type, as one in protobuf that stands alone; `None` for a kind that has none.
pub fn encode(object: &Value) -> Option<Vec<u8>> {
    let kind = object["kind"].as_str()?;
    let message = write::message(kind, object)?;
    Some(envelope(object["apiVersion"].as_str()?, kind, &message))
}

/// What stands alone, in JSON; a list's items have no type, as in JSON.
pub fn decode(bytes: &[u8]) -> Result<Value, String> {
    let fields = read::fields(bytes.strip_prefix(MAGIC).ok_or("no magic")?)?;
    let numbers: Vec<u64> = fields.iter().map(|field| field.number).collect();
    // A field that is skipped stands only inside.
    if numbers != [1, 2, 3, 4] {
        return Err(format!("an envelope of fields {numbers:?}"));
    }
    let of = read::fields(fields[0].bytes()?)?;
    let text = |at: usize| Ok::<_, String>(String::from_utf8_lossy(of[at].bytes()?).into_owned());
    let (api_version, kind) = (text(0)?, text(1)?);
    let mut object = json!({"kind": kind, "apiVersion": api_version});
    let content = read::message(&kind, fields[1].bytes()?)?;
    if let (Value::Object(object), Value::Object(content)) = (&mut object, content) {
        object.extend(content);
    }
    Ok(object)
}

/// The items of a list that stands alone, as they stand.
pub fn items(list: &[u8]) -> Vec<&[u8]> {
    let inside = |bytes| read::fields(bytes).expect("a message");
    let envelope = inside(list.strip_prefix(MAGIC).expect("magic"));
    let message = inside(envelope[1].bytes().expect("a list"));
    let items = message.iter().filter(|raw| raw.number == 2);
    items.map(|raw| raw.bytes().expect("an item")).collect()
}

/// One event of a watch: the length of what follows, its type, and an object that stands alone.
pub fn frame(event: &str, object: &[u8]) -> Vec<u8> {
    let (mut raw, mut body) = (Vec::new(), Vec::new());
    field(1, object, &mut raw);
    field(1, event.as_bytes(), &mut body);
    field(2, &raw, &mut body);
    let mut out = (body.len() as u32).to_be_bytes().to_vec();
    out.extend(body);
    out
}

/// The first event of a stream, and how long it is; `None` when there is more to come.
pub fn event(stream: &[u8]) -> Result<Option<(String, Value, usize)>, String> {
    let Some((length, rest)) = stream.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*length) as usize;
    let Some(body) = rest.get(..length) else {
        return Ok(None);
    };
    let fields = read::fields(body)?;
    let [kind, extension] = fields.as_slice() else {
        return Err(format!("an event of {} fields", fields.len()));
    };
    let raw = read::fields(extension.bytes()?)?;
    let [object] = raw.as_slice() else {
        return Err(format!("an object of {} fields", raw.len()));
    };
    let kind = String::from_utf8_lossy(kind.bytes()?).into_owned();
    Ok(Some((kind, decode(object.bytes()?)?, 4 + length)))
}

#[cfg(test)]
mod tests {
    use super::decode;
    use super::encode;
    use super::event;
    use super::frame;
    use serde_json::Value;

    macro_rules! golden {
        ($($name:literal),* $(,)?) => {
            [$((
                $name,
                &include_bytes!(concat!("../golden/", $name, "_json.body"))[..],
                &include_bytes!(concat!("../golden/", $name, "_protobuf.body"))[..],
            )),*]
        };
    }

    fn bytes_differ(name: &str, ours: &[u8], theirs: &[u8]) -> String {
        let at = ours.iter().zip(theirs).take_while(|(a, b)| a == b).count();
        let near = |bytes: &[u8]| {
            let part = &bytes[at.saturating_sub(40)..bytes.len().min(at + 40)];
            String::from_utf8_lossy(part).into_owned()
        };
        format!("{name} at {at}: {:?} and {:?}", near(ours), near(theirs))
    }

    #[test]
    fn what_the_real_server_says_in_json_is_written_as_it_writes_it_in_protobuf() {
        for (name, json, protobuf) in golden!(
            "get_missing",
            "get_pod",
            "list_configmaps_half",
            "list_csidrivers_empty",
            "list_csinodes",
            "list_endpointslices",
            "list_exact_expired",
            "list_leases",
            "list_namespaces",
            "list_nodes",
            "list_pods",
            "list_pods_partial",
            "list_runtimeclasses",
            "list_secrets",
            "list_services",
        ) {
            let said: Value = serde_json::from_slice(json).expect("JSON");
            let ours = encode(&said).expect("a kind that has protobuf");
            assert!(ours == protobuf, "{}", bytes_differ(name, &ours, protobuf));
            let back = decode(protobuf).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(encode(&back).as_deref() == Some(protobuf), "{name}");
        }
    }

    #[test]
    fn the_real_servers_watches_are_read_and_written_frame_by_frame() {
        // Recorded at two times: the same events, of other versions.
        for (name, json, protobuf) in golden!(
            "watch_configmaps",
            "watch_configmaps_half",
            "watch_expired",
            "watch_from_zero_endpointslices",
            "watch_future_rv",
            "watchlist_services",
        ) {
            let mut lines = json.split_inclusive(|byte| *byte == b'\n');
            let mut rest = protobuf;
            while !rest.is_empty() {
                let said = lines.next().expect("no more events than in JSON");
                let said: Value = serde_json::from_slice(said).expect("JSON");
                let (kind, object, length) = event(rest).expect("an event").expect("whole");
                assert_eq!(kind, said["type"], "{name}");
                assert_eq!(object["kind"], said["object"]["kind"], "{name}");
                let (theirs, left) = rest.split_at(length);
                let ours = frame(&kind, &encode(&object).expect("a kind"));
                assert!(ours == theirs, "{}", bytes_differ(name, &ours, theirs));
                rest = left;
            }
        }
    }

    #[test]
    fn what_no_schema_knows_goes_both_ways() {
        let object = serde_json::json!({
            "kind": "Pod", "apiVersion": "v1", "@5000": "later",
            "metadata": {"name": "p", "@99": "x"},
        });
        let read = decode(&encode(&object).expect("a pod")).expect("a pod");
        assert_eq!(read["@5000"], "later");
        assert_eq!(read["metadata"]["@99"], "x");
        assert_eq!(read["metadata"]["name"], "p");
    }
}
