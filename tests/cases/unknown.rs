//! W069–W081: what is not known is never taken for empty or absent, and no answer is in a form that it does not say.

use super::BOTH;
use super::MAPS;
use super::PODS_HERE;
use super::PROTOBUF;
use super::PROTOBUF_OR_JSON;
use super::TABLE;
use super::ask;
use super::bookmark_at;
use super::hangs;
use super::put_maps;
use super::put_pods;
use super::refusal;
use super::scene;
use super::watch_after;
use super::with;
use crate::support::apiserver::kind::SERVICES;
use crate::support::cable::Mode;
use crate::support::client::Next;
use crate::support::object;
use serde_json::json;
use std::time::Duration;

/// Nothing is known: 503.
fn unavailable() -> (u16, String) {
    (503, "ServiceUnavailable".to_owned())
}

/// The collection of one ConfigMap, as a kubelet asks for it.
fn named(name: &str) -> String {
    with(MAPS, &format!("fieldSelector=metadata.name%3D{name}"))
}

#[test]
fn w069_what_was_never_asked_for_is_503_and_its_watches_come_back_later() {
    let scene = scene();
    put_pods(&scene);
    scene.client().list(PODS_HERE);
    scene.cut_off(Mode::Refuse);
    for target in ["/api/v1/services", MAPS, "/api/v1/namespaces/ns/secrets"] {
        let answer = ask(&scene, target);
        assert_eq!((answer.status, answer.reason()), unavailable(), "{target}");
        assert_eq!(answer.header("retry-after"), None, "{target}");
        for query in [BOTH, "watch=true&resourceVersion=103"] {
            let watch = ask(&scene, &with(target, query));
            assert_eq!((watch.status, watch.reason()), unavailable(), "{target}");
            let seconds: Option<u32> = watch.header("retry-after").and_then(|s| s.parse().ok());
            assert!(
                seconds.is_some_and(|s| (5..=10).contains(&s)),
                "{seconds:?}"
            );
        }
    }
}

#[test]
fn w070_one_object_that_is_known_to_be_absent_is_an_empty_list() {
    let scene = scene();
    put_maps(&scene, 1);
    scene.client().list(&named("none"));
    scene.cut_off(Mode::Refuse);
    let (ours, theirs) = (scene.client(), scene.direct());
    let list = ours.list(&named("none"));
    assert_eq!(list.body, theirs.list(&named("none")).body);
    assert_eq!(list.names(), [""; 0]);
}

#[test]
fn w071_one_object_that_was_never_asked_for_is_503() {
    let scene = scene();
    put_maps(&scene, 2);
    scene.client().list(&named("c-0"));
    scene.cut_off(Mode::Refuse);
    assert_eq!(refusal(&scene, &named("c-1")), unavailable());
    assert_eq!(refusal(&scene, &format!("{MAPS}/c-1")), unavailable());
    assert_eq!(scene.client().list(&named("c-0")).names(), ["c-0"]);
}

#[test]
fn w072_a_get_of_a_listed_object_says_its_kind() {
    let scene = scene();
    put_pods(&scene);
    scene.client().list(PODS_HERE);
    scene.cut_off(Mode::Refuse);
    let target = "/api/v1/namespaces/ns/pods/p1?resourceVersion=0";
    let pod = scene.client().list(target);
    assert_eq!(pod.body, scene.direct().list(target).body);
    let pod = pod.json();
    assert_eq!(
        (&pod["kind"], &pod["apiVersion"]),
        (&json!("Pod"), &json!("v1"))
    );
}

#[test]
fn w073_a_get_of_an_unknown_object_is_404_only_where_all_of_them_are_known() {
    let scene = scene();
    put_pods(&scene);
    scene.client().list(PODS_HERE);
    scene.cut_off(Mode::Refuse);
    let unknown = "/api/v1/namespaces/ns/pods/unknown";
    assert_eq!(refusal(&scene, unknown), unavailable());
    scene.restore();
    scene.connected();
    scene.client().list("/api/v1/pods");
    scene.cut_off(Mode::Refuse);
    assert_eq!(refusal(&scene, unknown), (404, "NotFound".to_owned()));
}

#[test]
fn w074_a_narrower_selector_is_answered_from_a_broader_mirror_at_its_version() {
    let scene = scene();
    for (name, labels) in [
        ("a", json!({"tier": "web"})),
        ("b", json!({})),
        ("c", json!({"tier": ""})),
    ] {
        let mut service = object::service("ns", name);
        service["metadata"]["labels"] = labels;
        service["spec"]["clusterIP"] = json!(if name == "b" { "None" } else { "10.96.0.1" });
        scene.server.put(&SERVICES, service);
    }
    let version = scene.client().list("/api/v1/services").version();
    let queries = [
        "labelSelector=tier%3Dweb",
        "labelSelector=tier%21%3Dweb",
        "labelSelector=%21tier",
        "labelSelector=tier+notin+(web)",
        "labelSelector=tier%3D",
        "fieldSelector=spec.clusterIP%21%3DNone",
        "fieldSelector=metadata.name%3Da&labelSelector=tier",
    ];
    scene.cut_off(Mode::Refuse);
    for query in queries {
        let target = with("/api/v1/services", query);
        let list = scene.client().list(&target);
        assert_eq!(list.body, scene.direct().list(&target).body, "{query}");
        assert_eq!(list.version(), version, "{query}");
    }
}

#[test]
fn w075_all_nodes_are_503_where_one_is_known() {
    let scene = scene();
    put_pods(&scene);
    let own = "/api/v1/nodes?fieldSelector=metadata.name%3Dedge-00";
    scene.client().list(own);
    scene.cut_off(Mode::Refuse);
    assert_eq!(refusal(&scene, "/api/v1/nodes"), unavailable());
    assert_eq!(scene.client().list(own).names(), ["edge-00"]);
}

#[test]
fn w076_nobody_is_answered_in_an_encoding_that_it_does_not_accept() {
    const ONLY_PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
    let scene = scene();
    put_maps(&scene, 1);
    let online = scene.client().list(MAPS);
    scene.cut_off(Mode::Refuse);
    let (held, other) = if PROTOBUF {
        (ONLY_PROTOBUF, "application/json")
    } else {
        ("application/json", ONLY_PROTOBUF)
    };
    for target in [MAPS.to_owned(), format!("{MAPS}/c-0"), with(MAPS, BOTH)] {
        let refused = scene.client().with("Accept", other).get(&target);
        let refused = refused.expect("an answer");
        assert_eq!(
            (refused.status, refused.reason().as_str()),
            (406, "NotAcceptable"),
            "{target}"
        );
        // What it accepts it can read, a Status too.
        assert_eq!(refused.header("content-type"), Some(other), "{target}");
    }
    for accept in [
        held,
        PROTOBUF_OR_JSON,
        "application/vnd.kubernetes.protobuf, */*",
        "application/json;q=0.5,application/vnd.kubernetes.protobuf;q=0.1",
        // A kubelet that was told to speak JSON: it reads what else there is.
        "application/json, */*",
    ] {
        let list = scene.client().with("Accept", accept).list(MAPS);
        assert_eq!(list.header("content-type"), Some(held), "{accept}");
        assert_eq!(list.body, online.body, "{accept}");
    }
}

#[test]
fn w078_the_version_is_the_servers_last_and_health_is_the_agents() {
    let scene = scene();
    let online = scene.client().list("/version");
    scene.cut_off(Mode::Refuse);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(ask(&scene, path).status, 200, "{path}");
    }
    assert_eq!(scene.client().list("/version").body, online.body);
}

#[test]
fn w079_discovery_that_is_held_is_answered_with_its_etag_and_what_is_not_is_503() {
    let scene = scene();
    let online = ask(&scene, "/apis");
    let tag = online.header("etag").expect("a tag").to_owned();
    scene.cut_off(Mode::Refuse);
    let offline = ask(&scene, "/apis");
    assert_eq!((offline.status, &offline.body), (200, &online.body));
    assert_eq!(offline.header("etag"), Some(tag.as_str()));
    let held = scene.client().with("If-None-Match", &tag).get("/apis");
    let held = held.expect("an answer");
    assert_eq!((held.status, held.body.len()), (304, 0));
    for path in ["/api", "/api/v1", "/openapi/v2", "/openapi/v3"] {
        assert_eq!(refusal(&scene, path), unavailable(), "{path}");
    }
}

#[test]
fn w080_no_object_is_called_a_table() {
    let scene = scene();
    put_pods(&scene);
    let pods = "/api/v1/namespaces/ns/pods?limit=500";
    scene.client().list("/api/v1/namespaces/ns/pods");
    scene.cut_off(Mode::Refuse);
    let beta = TABLE.replace("v=v1;", "v=v1beta1;");
    let only = format!("{TABLE},{beta}");
    let refused = scene.client().with("Accept", &only).get(pods);
    let refused = refused.expect("an answer");
    assert_eq!(
        (refused.status, refused.reason().as_str()),
        (406, "NotAcceptable")
    );
    // kubectl takes plain objects last, and prints them by itself; if they are held in protobuf it can't read them.
    let kubectl = scene
        .client()
        .with("Accept", &format!("{only},application/json"));
    if PROTOBUF {
        let refused = kubectl.get(pods).expect("an answer");
        assert_eq!(
            (refused.status, refused.reason().as_str()),
            (406, "NotAcceptable")
        );
        assert_eq!(refused.header("content-type"), Some("application/json"));
        return;
    }
    let plain = kubectl.list(pods);
    assert_eq!(plain.header("content-type"), Some("application/json"));
    assert_eq!(plain.json()["kind"], "PodList");
    assert_eq!(plain.names(), ["p1", "p2", "p3"]);
}

#[test]
fn w081_who_asks_for_no_bookmarks_gets_none() {
    let scene = scene();
    put_maps(&scene, 1);
    let version = scene.client().list(MAPS).version();
    scene.cut_off(Mode::Refuse);
    let mut with_bookmarks = watch_after(&scene, MAPS, version);
    let target = format!("{MAPS}?resourceVersion={version}&watch=true");
    let mut without = scene.client().watching(&target);
    bookmark_at(&mut with_bookmarks, version);
    hangs(&mut with_bookmarks);
    assert!(matches!(
        without.next(Duration::from_millis(300)),
        Next::Silent
    ));
}
