//! Tables and metadata: what only the server makes is passed on, what can be made here is, and a cut does not show.

use std::time::Duration;

use crate::scene;
use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::cable::Mode;
use crate::support::client::Client;
use crate::support::client::Next;
use crate::support::object;

const PATH: &str = "/api/v1/namespaces/edge/configmaps";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
/// What client-go's metadata client accepts.
const METADATA: &str = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,\
                        application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

fn put(scene: &crate::Scene, name: &str) -> u64 {
    scene
        .server
        .put(&CONFIGMAPS, object::configmap("edge", name, &[], "x"))
}

fn accepting(scene: &crate::Scene, accept: &str) -> Client {
    scene.client().with("accept", accept)
}

#[test]
fn metadata_is_made_here_when_cut_off_and_is_what_the_server_makes() {
    let scene = scene();
    for name in ["one", "skip-two", "three"] {
        put(&scene, name);
    }
    let client = accepting(&scene, METADATA);
    let json = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let direct = scene.direct().with("accept", json).list(PATH);
    let online = client.list(PATH);
    assert_eq!(online.json()["kind"], "PartialObjectMetadataList");
    assert_eq!(
        online.names(),
        ["one", "three"],
        "what is dropped is dropped in every form"
    );
    let version = scene.client().list(PATH).version();
    let mut whole = scene
        .client()
        .watching(&format!("{PATH}?watch=true&resourceVersion={version}"));
    put(&scene, "four");
    whole.change();
    scene.cut(Mode::Refuse);
    let offline = client.list(PATH);
    assert!(offline.header("warning").is_some());
    assert_eq!(offline.json()["kind"], "PartialObjectMetadataList");
    assert_eq!(offline.names(), ["four", "one", "three"]);
    let own: Vec<_> = direct
        .item_texts()
        .into_iter()
        .filter(|item| !item.contains("skip-two"))
        .collect();
    assert_eq!(offline.item_texts()[1..], own, "byte for byte the server's");
    let one = client
        .get(&format!("{PATH}/one"))
        .expect("an answer")
        .json();
    assert_eq!(
        (&one["kind"], &one["data"]),
        (&"PartialObjectMetadata".into(), &serde_json::Value::Null)
    );
    let mut watch = client.watching(&format!(
        "{PATH}?watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
    ));
    for name in ["four", "one", "three"] {
        let event = watch.event();
        assert_eq!((event.event.as_str(), event.name()), ("ADDED", name));
        assert_eq!(event.object["kind"], "PartialObjectMetadata");
        assert_eq!(event.object["data"], serde_json::Value::Null);
    }
    let bookmark = watch.event();
    assert_eq!(bookmark.event, "BOOKMARK");
    assert_eq!(bookmark.object["kind"], "PartialObjectMetadata");
    scene.restore();
    scene
        .server
        .patch_labels(&CONFIGMAPS, "edge", "one", &[("a", Some("b"))]);
    let event = watch.change();
    assert_eq!((event.event.as_str(), event.name()), ("MODIFIED", "one"));
    assert_eq!(event.object["kind"], "PartialObjectMetadata");
}

#[test]
fn a_watch_of_tables_or_metadata_stays_open_through_a_cut_and_misses_nothing() {
    for accept in [TABLE, METADATA] {
        let scene = scene();
        put(&scene, "one");
        let version = scene.client().list(PATH).version();
        let target = format!("{PATH}?watch=true&resourceVersion={version}");
        let mut watch = accepting(&scene, accept).watching(&target);
        let shown = |watch: &mut crate::support::client::Watch| {
            let event = watch.change();
            let row = &event.object["rows"][0]["object"]["metadata"]["name"];
            let name = row.as_str().map_or(event.name(), |name| name).to_owned();
            (event.event.clone(), name)
        };
        put(&scene, "two");
        assert_eq!(shown(&mut watch), ("ADDED".into(), "two".into()));
        for mode in [Mode::Reset, Mode::Drop, Mode::Refuse] {
            scene.cut_off(mode);
            put(&scene, &format!("skip-{mode:?}").to_lowercase());
            put(&scene, &format!("c-{mode:?}").to_lowercase());
            scene
                .server
                .patch_labels(&CONFIGMAPS, "edge", "one", &[("a", Some("b"))]);
            let silent = watch.next(Duration::from_millis(50));
            assert!(matches!(silent, Next::Silent), "{mode:?}: {silent:?}");
            scene.restore();
            let name = format!("c-{mode:?}").to_lowercase();
            assert_eq!(shown(&mut watch), ("ADDED".into(), name));
            let changed = shown(&mut watch);
            assert_eq!(changed, ("MODIFIED".into(), "one".into()));
        }
        scene.cut_off(Mode::Refuse);
        put(&scene, "late");
        scene.server.compact();
        scene.restore();
        let end = watch.change();
        assert_eq!(end.event, "ERROR", "the history is gone: {}", end.line);
        assert!(end.line.contains("\"code\":410"), "{}", end.line);
    }
}

#[test]
fn what_is_dropped_is_not_shown_by_name_in_any_form() {
    let scene = scene();
    put(&scene, "skip-one");
    for accept in [
        TABLE,
        METADATA,
        "application/yaml",
        "application/vnd.kubernetes.protobuf",
    ] {
        let answer = accepting(&scene, accept)
            .get(&format!("{PATH}/skip-one"))
            .expect("an answer");
        assert_eq!(answer.status, 404, "{accept}: {}", answer.text());
    }
}
