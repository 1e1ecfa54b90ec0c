//! T04–T09, T17: the filter drops objects whose `metadata.name` starts with `skip-`, and nothing else.

use std::time::Duration;

use serde_json::json;

use super::PATH;
use super::fill;
use super::names;
use super::scene;
use super::selected;
use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::apiserver::kind::PODS;
use crate::support::cable::Mode;
use crate::support::client::Next;
use crate::support::object;

#[test]
fn t04_half_of_a_selected_list_is_dropped_by_name() {
    let scene = scene();
    fill(&scene, "filter", 100, true);
    let list = scene.client().list(&selected("filter"));
    assert_eq!(list.names(), names("filter", 100, true));
    let server = scene.direct().list(&selected("filter")).item_texts();
    assert!(
        list.item_texts().iter().all(|item| server.contains(item)),
        "the rest is untouched"
    );
}

#[test]
fn t05_only_the_start_of_the_name_counts() {
    let scene = scene();
    for name in ["skip", "skipper", "my-skip-x", "skip-0"] {
        scene.server.put(
            &CONFIGMAPS,
            object::configmap(
                "skip-ns",
                name,
                &[("skip-label", "skip-value")],
                "skip-data",
            ),
        );
    }
    let mut owned = object::configmap("skip-ns", "owned", &[], "x");
    owned["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "skip-0", "uid": "u"}]);
    scene.server.put(&CONFIGMAPS, owned);
    let list = scene.client().list("/api/v1/namespaces/skip-ns/configmaps");
    assert_eq!(list.names(), ["my-skip-x", "owned", "skip", "skipper"]);
}

#[test]
fn t06_lists_without_a_selector_and_of_all_namespaces_are_filtered() {
    let scene = scene();
    fill(&scene, "filter", 20, true);
    assert_eq!(scene.client().list(PATH).names(), names("filter", 20, true));
    assert_eq!(
        scene.client().list("/api/v1/configmaps").names(),
        names("filter", 20, true)
    );
}

#[test]
fn t07_a_dropped_objects_events_are_never_seen_and_the_rest_keeps_its_order() {
    let scene = scene();
    fill(&scene, "filter", 4, true);
    let mut watch = scene.client().watching(&format!(
        "{PATH}?watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
    ));
    let initial: Vec<_> = (0..3).map(|_| watch.event()).collect();
    assert_eq!(
        initial[..2]
            .iter()
            .map(|event| event.name())
            .collect::<Vec<_>>(),
        names("filter", 4, true)
    );
    assert_eq!(initial[2].event, "BOOKMARK", "bookmarks pass");
    let mut expected = Vec::new();
    for n in 0..30 {
        let name = format!("{}between-{}", if n % 3 == 1 { "skip-" } else { "" }, n / 3);
        let version = match n % 2 {
            0 => scene.server.put(
                &CONFIGMAPS,
                object::configmap("contest", &name, &[], &n.to_string()),
            ),
            _ => scene.server.put(
                &CONFIGMAPS,
                object::configmap("contest", &name, &[("n", "1")], "y"),
            ),
        };
        if n % 3 != 1 {
            expected.push(version);
        }
        if n % 10 == 9 {
            let version = scene
                .server
                .delete(&CONFIGMAPS, "contest", &name)
                .expect("it was just made");
            if n % 3 != 1 {
                expected.push(version);
            }
        }
    }
    let seen: Vec<_> = expected.iter().map(|_| watch.change()).collect();
    assert_eq!(
        seen.iter().map(|event| event.version()).collect::<Vec<_>>(),
        expected
    );
    assert!(!seen.iter().any(|event| event.line.contains("skip-between")));
}

#[test]
fn t08_pods_are_filtered_as_configmaps_are() {
    let scene = scene();
    for name in ["a", "skip-b", "c"] {
        scene
            .server
            .put(&PODS, object::pod("contest", name, "edge-00", &[]));
    }
    let path = "/api/v1/pods?fieldSelector=spec.nodeName%3Dedge-00";
    let list = scene.client().list(path);
    assert_eq!(list.names(), ["a", "c"]);
    let mut watch = scene.client().watching(&format!(
        "{path}&watch=true&resourceVersion={}",
        list.version()
    ));
    scene
        .server
        .patch_labels(&PODS, "contest", "skip-b", &[("x", Some("y"))]);
    scene
        .server
        .patch_labels(&PODS, "contest", "c", &[("x", Some("y"))]);
    assert_eq!(watch.change().name(), "c");
}

#[test]
fn t09_a_dropped_object_is_not_found_online_and_offline() {
    let scene = scene();
    fill(&scene, "filter", 4, true);
    scene.client().list(PATH);
    let dropped = format!("{PATH}/skip-benchmark-filter-1");
    let kept = format!("{PATH}/benchmark-filter-0");
    for mode in [None, Some(Mode::Refuse)] {
        if let Some(mode) = mode {
            scene.cut(mode);
        }
        let answer = scene.client().get(&dropped).expect("an answer");
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (404, "NotFound"),
            "{mode:?}"
        );
        assert_eq!(answer.json()["kind"], "Status");
        let answer = scene.client().get(&kept).expect("an answer");
        assert_eq!(
            (answer.status, answer.json()["kind"].as_str()),
            (200, Some("ConfigMap")),
            "{mode:?}"
        );
        assert_eq!(answer.json()["apiVersion"], "v1");
    }
}

#[test]
fn t17_what_was_filtered_online_is_filtered_offline() {
    let scene = scene();
    fill(&scene, "filter", 50, true);
    scene.client().list(&selected("filter"));
    scene.cut(Mode::Refuse);
    assert_eq!(
        scene.client().list(&selected("filter")).names(),
        names("filter", 50, true)
    );
    let mut watch = scene
        .client()
        .watching(&format!("{}&watch=true", selected("filter")));
    let initial: Vec<_> = (0..25).map(|_| watch.change()).collect();
    assert!(
        !initial
            .iter()
            .any(|event| event.name().starts_with("skip-"))
    );
    assert!(matches!(
        watch.next(Duration::from_millis(100)),
        Next::Silent
    ));
}
