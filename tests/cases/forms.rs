//! W023–W027: the forms of an answer: Tables, metadata only, custom resources.

use super::MAPS;
use super::PROTOBUF_OR_JSON;
use super::TABLE;
use super::put_map;
use super::put_maps;
use super::scene;
use super::watch_after;
use super::with;
use crate::support::apiserver::kind::CAMERAS;
use crate::support::cable::Mode;
use crate::support::object;
use serde_json::json;

#[test]
fn w023_a_table_is_the_servers_also_while_objects_are_mirrored_and_fresh() {
    let scene = scene();
    put_maps(&scene, 2);
    let mut watch = watch_after(&scene, MAPS, scene.client().list(MAPS).version());
    let version = put_map(&scene, "c-2");
    assert_eq!(watch.change().version(), version);
    scene.server.forget_requests();
    let target = with(MAPS, "resourceVersion=0");
    let table = scene.client().with("Accept", TABLE).list(&target);
    assert_eq!(table.json()["kind"], "Table");
    assert_eq!(table.json()["rows"].as_array().map(Vec::len), Some(3));
    let asked = scene.server.requests();
    assert_eq!((asked.len(), asked[0].accept.as_str()), (1, TABLE));
}

#[test]
fn w024_objects_that_are_mirrored_are_no_answer_to_who_wants_a_table() {
    let scene = scene();
    put_maps(&scene, 2);
    scene.client().list(MAPS);
    let kubectl = scene
        .client()
        .with("Accept", &format!("{TABLE},application/json"));
    assert_eq!(kubectl.list(MAPS).json()["kind"], "Table");
    scene.cut_off(Mode::Refuse);
    let only = scene.client().with("Accept", TABLE).get(MAPS);
    let only = only.expect("an answer");
    assert_eq!(
        (only.status, only.reason().as_str()),
        (406, "NotAcceptable")
    );
}

#[test]
fn w025_a_watch_of_metadata_only_is_metadata_only() {
    let scene = scene();
    put_maps(&scene, 1);
    let version = scene.client().list(MAPS).version();
    let accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
    let target = format!("{MAPS}?resourceVersion={version}&watch=true");
    let mut watch = scene.client().with("Accept", accept).watching(&target);
    assert!(
        watch
            .headers
            .contains(&("content-type".to_owned(), "application/json".to_owned()))
    );
    put_map(&scene, "c-0");
    let event = watch.event();
    assert_eq!((event.event.as_str(), event.name()), ("MODIFIED", "c-0"));
    assert_eq!(event.object["kind"], "PartialObjectMetadata");
    assert!(event.object.get("data").is_none(), "{}", event.line);
}

#[test]
fn w026_custom_resources_are_json_and_their_version_behind_the_items_is_found() {
    let scene = scene();
    scene.server.put(&CAMERAS, object::camera("ns", "a", 25));
    let path = CAMERAS.path("ns");
    let online = scene.client().with("Accept", PROTOBUF_OR_JSON).list(&path);
    assert_eq!(online.header("content-type"), Some("application/json"));
    assert_eq!(online.body, scene.direct().list(&path).body);
    let text = online.text();
    assert!(text.find("\"items\"") < text.find("\"metadata\":{\"continue\""));
    scene.cut_off(Mode::Refuse);
    assert_eq!(scene.client().list(&path).version(), scene.server.version());
}

#[test]
fn w027_a_large_list_of_custom_resources_is_filtered_in_bounded_memory() {
    let scene = scene();
    for n in 0..2_000 {
        let name = format!("{}camera-{n:04}", if n % 4 == 0 { "skip-" } else { "" });
        let mut camera = object::camera("ns", &name, 25);
        camera["spec"]["notes"] = json!("a line of notes; ".repeat(600));
        scene.server.put(&CAMERAS, camera);
    }
    scene.connected();
    let before = scene.memory();
    let list = scene.client().list(&CAMERAS.path("ns"));
    let after = scene.memory();
    assert!(list.body.len() > 15_000_000, "{} bytes", list.body.len());
    assert_eq!(list.names().len(), 1_500);
    assert!(
        after.peak - before.peak < 4 * 1024,
        "{before:?} then {after:?}"
    );
}
