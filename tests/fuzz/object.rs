//! Views and edits of one object: what serde_json sees, and edits that change what they say they do.

use serde::de::IgnoredAny;
use serde_json::Value;
use toono::k8s::object::ResourceVersion;
use toono::k8s::resource::GroupVersionResource;
use toono::wire::endpointslice;
use toono::wire::endpointslice::Change;
use toono::wire::endpointslice::Endpoint;
use toono::wire::field;
use toono::wire::object;
use toono::wire::podstatus;

use crate::fuzz::golden::golden;
use crate::fuzz::make;
use crate::fuzz::make::JSON_WORDS;
use crate::fuzz::make::below;
use crate::fuzz::make::one_in;
use crate::fuzz::make::pick;
use crate::fuzz::meter;
use crate::support::random::Random;

const NAMES: [&str; 14] = [
    "metadata",
    "name",
    "namespace",
    "resourceVersion",
    "labels",
    "annotations",
    "k8s.io/initial-events-end",
    "kind",
    "apiVersion",
    "object",
    "rows",
    "spec",
    "code",
    "reason",
];

/// An object.
pub(crate) fn make(random: &mut Random) -> Vec<u8> {
    let mut text = Vec::new();
    match random.below(8) {
        0 => return make::words(random, &JSON_WORDS, 20),
        1 if one_in(random, 200) => {
            let depth = below(random, 600);
            let open = pick(random, &[b"{\"object\":".as_slice(), b"{\"rows\":["]);
            text.extend(open.iter().copied().cycle().take(open.len() * depth));
        }
        1 | 2 => make::json(random, 5, &NAMES, &mut text),
        3..=5 => built(random, &mut text),
        _ => text.extend(pick(random, &golden().objects)),
    }
    if one_in(random, 2) {
        make::mutate(random, &mut text, &JSON_WORDS);
    }
    text
}

/// Members in any order, those of metadata too, each at most once.
fn built(random: &mut Random, out: &mut Vec<u8>) {
    let mut metadata = Vec::new();
    for name in ["name", "namespace", "resourceVersion"] {
        if !one_in(random, 6) {
            let mut value = Vec::new();
            match random.below(4) {
                0 => make::string(random, &mut value),
                1 => value.extend_from_slice(b"7"),
                _ => value.extend_from_slice(format!("\"{}\"", random.below(999)).as_bytes()),
            }
            metadata.push([b"\"", name.as_bytes(), b"\":", &value].concat());
        }
    }
    for name in ["labels", "annotations"] {
        if one_in(random, 2) {
            let mut value = Vec::new();
            make::json(random, 1, &NAMES, &mut value);
            metadata.push([b"\"", name.as_bytes(), b"\":", &value].concat());
        }
    }
    let mut members = vec![[b"\"metadata\":{", &joined(random, metadata)[..], b"}"].concat()];
    for member in [
        r#""kind":"Pod""#,
        r#""apiVersion":"v1""#,
        r#""spec":{"nodeName":"edge-00","replicas":3}"#,
    ] {
        if one_in(random, 2) {
            members.push(member.as_bytes().to_vec());
        }
    }
    out.push(b'{');
    out.extend(joined(random, members));
    out.push(b'}');
}

fn joined(random: &mut Random, mut parts: Vec<Vec<u8>>) -> Vec<u8> {
    for at in (1..parts.len()).rev() {
        parts.swap(at, below(random, at + 1));
    }
    parts.join(&b","[..])
}

/// All views, and all edits.
pub(crate) fn check(random: &mut Random, input: &[u8]) {
    let bound = 16 * 1024 + 64 * input.len();
    meter::within(bound, || views(random, input));
    let value = serde_json::from_slice::<Value>(input).ok();
    // A key that is escaped or comes twice is read differently; no server writes one.
    let value = value.filter(|value| {
        value.is_object()
            && serde_json::to_vec(value).ok().as_deref() == Some(input.trim_ascii_end())
    });
    if let Some(value) = value {
        by_serde(input, &value);
    }
}

fn views(random: &mut Random, input: &[u8]) {
    let _ = object::shown_key(input);
    let _ = object::status_code_and_reason(input);
    let _ = podstatus::told(input);
    let down = |_: &str, _: &Endpoint<'_>| {
        Some(Change {
            ready: Some(false),
            serving: Some(false),
            ..Change::default()
        })
    };
    if let Ok(Some(slice)) = endpointslice::rewrite(input, &down) {
        let again = endpointslice::rewrite(&slice, &down);
        assert_eq!(again.ok().flatten(), Some(slice), "it is changed already");
    }
    let name = pick(random, &NAMES);
    let _ = toono::wire::json::object::text_at(input, &["metadata", name]);
    let group = pick(
        random,
        &["", "edge.example.com", "batch", "certificates.k8s.io"],
    );
    let kind = pick(random, &["pods", "events", "jobs", "nodes", "cameras"]);
    let resource = GroupVersionResource::new(group, "v1", kind);
    for name in [
        "metadata.name",
        "spec.nodeName",
        "spec.unschedulable",
        "source",
        "a..b",
        "",
    ] {
        let _ = field::value(&resource, name, input);
    }
    let _ = object::has_type(input);
    let _ = object::with_type(input, "Pod", "v1");
    if let Some((kind, api_version, rest)) = object::without_type(input) {
        let again = object::with_type(&rest, &kind, &api_version);
        // Of what is no JSON, nothing is said.
        if serde_json::from_slice::<IgnoredAny>(input).is_ok() {
            let bare = object::without_type(&again).expect("it has a type again");
            assert_eq!((bare.0, bare.1, bare.2), (kind, api_version, rest));
        }
    }
    let meta = object::meta(input);
    let key = object::key_and_version(input);
    let stamped = object::with_resource_version(input, ResourceVersion(u64::MAX));
    if let (Ok(_), Ok((key, _))) = (meta, key) {
        // Whole as far as the metadata, with a version: another one can be put there.
        let stamped = stamped.expect("there is a version");
        assert!(stamped.len() >= key.as_str().len());
    }
}

fn by_serde(input: &[u8], value: &Value) {
    let metadata = &value["metadata"];
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let version = |value: &Value| {
        text(&value["resourceVersion"]).and_then(|text| ResourceVersion::parse(&text))
    };
    match object::meta(input) {
        Ok(meta) => {
            assert_eq!(
                (meta.kind, meta.api_version),
                (text(&value["kind"]), text(&value["apiVersion"]))
            );
            assert_eq!(meta.resource_version, version(metadata));
            let labels = metadata["labels"].as_object().into_iter().flatten();
            let labels: Vec<(String, String)> = labels
                .filter_map(|(key, value)| Some((key.clone(), text(value)?)))
                .collect();
            assert_eq!(meta.labels, labels);
            let end = &metadata["annotations"]["k8s.io/initial-events-end"];
            assert_eq!(meta.initial_events_end, end == "true");
        }
        Err(error) => assert!(
            !metadata.is_object() && value.get("metadata").is_some(),
            "{error}"
        ),
    }
    let named = text(&metadata["name"]).zip(version(metadata));
    let key = object::key_and_version(input);
    match (&key, named) {
        (Ok((key, found)), Some((name, version))) => {
            let namespace = text(&metadata["namespace"]).unwrap_or_default();
            assert_eq!(key.as_str(), format!("{namespace}/{name}"));
            assert_eq!(*found, version);
            let next = ResourceVersion(version.0 ^ 0xffff);
            let stamped = object::with_resource_version(input, next).expect("it has a version");
            let mut expected = value.clone();
            expected["metadata"]["resourceVersion"] = next.to_string().into();
            assert_eq!(
                serde_json::from_slice::<Value>(&stamped).ok(),
                Some(expected)
            );
            assert_eq!(
                object::shown_key(input)
                    .as_ref()
                    .map(|key| key.name().contains('/')),
                Some(key.name().contains('/'))
            );
        }
        (Err(_), None) => {}
        (ours, theirs) => panic!("ours {ours:?}, serde's {theirs:?}"),
    }
    let says = |name: &str| value.get(name).is_some();
    let first = input.starts_with(b"{\"metadata\":");
    assert_eq!(
        object::has_type(input),
        says("kind") && says("apiVersion") && !first
    );
    for path in [
        &["spec", "nodeName"][..],
        &["spec", "replicas"],
        &["code"],
        &["metadata", "name"],
    ] {
        let found = path.iter().try_fold(value, |value, name| value.get(name));
        let expected = match found {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => None,
            Some(scalar) => Some(scalar.to_string()),
        };
        assert_eq!(
            toono::wire::json::object::text_at(input, path),
            Ok(expected),
            "{path:?}"
        );
    }
    if !says("kind") && !says("apiVersion") {
        let typed = object::with_type(input, "Pod", "v1");
        let again: Value = serde_json::from_slice(&typed).expect("it is JSON with its type too");
        assert_eq!(
            (&again["kind"], &again["apiVersion"]),
            (&"Pod".into(), &"v1".into())
        );
        let (kind, api_version, rest) =
            object::without_type(typed.trim_ascii_end()).expect("it has one");
        assert_eq!((kind.as_str(), api_version.as_str()), ("Pod", "v1"));
        assert_eq!(rest.as_ref(), input.trim_ascii_end());
    }
}
