//! Lists and gets: what stays off the line, what is remembered, what is never known.

use crate::agent;
use crate::scene;
use crate::support::apiserver::Options;
use crate::support::apiserver::kind::CAMERAS;
use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::apiserver::kind::NODES;
use crate::support::cable::Mode;
use crate::support::object;
use crate::support::scene::Scene;

const PATH: &str = "/api/v1/namespaces/edge/configmaps";

#[test]
fn a_live_mirror_answers_lists_at_a_version_it_has_passed() {
    let scene = scene();
    for n in 0..20 {
        scene.server.put(
            &CONFIGMAPS,
            object::configmap("edge", &format!("c-{n:02}"), &[], "x"),
        );
    }
    let version = scene.client().list(PATH).version();
    let mut watch = scene
        .client()
        .watching(&format!("{PATH}?watch=true&resourceVersion={version}"));
    let changed = scene
        .server
        .patch_labels(&CONFIGMAPS, "edge", "c-01", &[("a", Some("b"))])
        .expect("it is there");
    assert_eq!(watch.change().version(), changed);
    scene.wait("the mirror is live", || {
        scene.server.forget_requests();
        scene.client().list(&format!("{PATH}?resourceVersion=0"));
        scene.server.requests().is_empty()
    });
    for query in [
        "resourceVersion=0",
        &format!("resourceVersion={version}"),
        "limit=500&resourceVersion=0",
    ] {
        let list = scene.client().list(&format!("{PATH}?{query}"));
        assert_eq!(
            (list.names().len(), list.version()),
            (20, changed),
            "{query}"
        );
        assert!(list.header("warning").is_none(), "it is current");
    }
    assert!(
        scene.server.requests().is_empty(),
        "nothing crossed the line"
    );
    let ahead = scene
        .client()
        .get(&format!("{PATH}?resourceVersion=99999"))
        .expect("an answer");
    assert_eq!(
        ahead.status, 504,
        "a version ahead of the server is the server's to answer"
    );
}

#[test]
fn an_unchanged_list_writes_nothing() {
    let scene = scene();
    for n in 0..50 {
        scene.server.put(
            &CONFIGMAPS,
            object::configmap("edge", &format!("c-{n:02}"), &[], "x"),
        );
    }
    scene.client().list(PATH);
    let once = scene.mirror_bytes();
    assert!(once > 0);
    for _ in 0..5 {
        scene.client().list(PATH);
    }
    assert_eq!(scene.mirror_bytes(), once);
    scene
        .server
        .patch_labels(&CONFIGMAPS, "edge", "c-01", &[("a", Some("b"))]);
    scene.client().list(PATH);
    let grown = scene.mirror_bytes() - once;
    assert!((1..2_000).contains(&grown), "one object's worth: {grown}");
}

#[test]
fn a_list_that_is_nearly_what_is_held_is_what_the_server_has() {
    let filter = ["--drop-name-prefix", "none-"];
    let scene = Scene::with(agent(), Options::default(), &filter);
    // Some larger than what is read or inflated at once.
    for n in 0..120 {
        let size = if n % 40 == 7 { 90_000 } else { 50 + n * 17 };
        let map = object::big_configmap("edge", &format!("c-{n:03}"), size);
        scene.server.put(&CONFIGMAPS, map);
    }
    let same = |what: &str| {
        let right = scene.direct().list(PATH);
        for _ in 0..2 {
            let list = scene.client().list(PATH);
            assert!(list.text() == right.text(), "{what}");
        }
    };
    same("nothing was held");
    for (n, size) in [(0, 60), (7, 90_001), (60, 20), (61, 70_000), (119, 1)] {
        let map = object::big_configmap("edge", &format!("c-{n:03}"), size);
        scene.server.put(&CONFIGMAPS, map);
    }
    same("some have changed");
    for n in [0, 1, 47, 80, 118, 119] {
        let gone = scene
            .server
            .delete(&CONFIGMAPS, "edge", &format!("c-{n:03}"));
        assert!(gone.is_some());
    }
    same("some are gone");
    for name in ["a", "c-047", "c-0605", "z"] {
        let map = object::big_configmap("edge", name, 300);
        scene.server.put(&CONFIGMAPS, map);
    }
    same("some are new");
    let right = scene.direct().list(PATH).text();
    scene.cut(Mode::Refuse);
    assert!(scene.client().list(PATH).text() == right, "and it is held");
}

#[test]
fn a_get_is_remembered_by_name_and_absence_only_where_it_is_known() {
    let scene = scene();
    for name in ["a", "b"] {
        scene
            .server
            .put(&CONFIGMAPS, object::configmap("edge", name, &[], "x"));
    }
    scene.server.put(&NODES, object::node("edge-00"));
    let online = scene.client().get(&format!("{PATH}/a")).expect("an answer");
    scene
        .client()
        .get("/api/v1/nodes/edge-00")
        .expect("an answer");
    let missing = scene
        .client()
        .get(&format!("{PATH}/none"))
        .expect("an answer");
    assert_eq!(missing.status, 404);
    scene.cut(Mode::Refuse);
    let get = |path: &str| scene.client().get(path).expect("an answer");
    assert_eq!(get(&format!("{PATH}/a")).text(), online.text());
    assert_eq!(get("/api/v1/nodes/edge-00").status, 200);
    assert_eq!(
        scene
            .client()
            .list("/api/v1/nodes?fieldSelector=metadata.name%3Dedge-00")
            .names(),
        ["edge-00"]
    );
    for unknown in [
        format!("{PATH}/b"),
        format!("{PATH}/none"),
        PATH.to_owned(),
        "/api/v1/nodes".into(),
        "/api/v1/nodes/edge-01".into(),
    ] {
        assert_eq!(get(&unknown).status, 503, "{unknown} was never known");
    }
}

#[test]
fn what_the_cloud_has_deleted_is_not_answered_from_an_old_get() {
    let scene = scene();
    scene
        .server
        .put(&CONFIGMAPS, object::configmap("edge", "a", &[], "x"));
    let path = format!("{PATH}/a");
    assert_eq!(scene.client().get(&path).expect("an answer").status, 200);
    scene.server.delete(&CONFIGMAPS, "edge", "a");
    assert_eq!(scene.client().get(&path).expect("an answer").status, 404);
    scene.cut(Mode::Refuse);
    assert_eq!(scene.client().get(&path).expect("an answer").status, 503);
}

#[test]
fn custom_resources_keep_their_form() {
    let mut scene = scene();
    for n in 0..5 {
        scene.server.put(
            &CAMERAS,
            object::camera("edge", &format!("camera-{n}"), 25 + n),
        );
    }
    let path = "/apis/edge.example.com/v1beta2/cameras";
    let online = scene.client().list(path);
    assert_eq!(online.body, scene.direct().list(path).body);
    let mut watch = scene.client().watching(&format!(
        "{path}?watch=true&resourceVersion={}",
        online.version()
    ));
    scene
        .server
        .put(&CAMERAS, object::camera("edge", "camera-5", 99));
    let line = watch.change().line;
    scene.cut(Mode::Refuse);
    scene.restart();
    let offline = scene.client().list(path);
    assert_eq!(
        offline.body,
        scene.direct().list(path).body,
        "keys sorted, version behind the items"
    );
    let mut again = scene.client().watching(&format!(
        "{path}?watch=true&resourceVersion={}",
        online.version()
    ));
    let replayed = again.change().line;
    assert_eq!(replayed.replace("MODIFIED", "ADDED"), line);
    let one = scene
        .client()
        .get("/apis/edge.example.com/v1beta2/namespaces/edge/cameras/camera-5")
        .expect("an answer");
    assert_eq!(
        (one.status, one.json()["spec"]["fps"].as_u64()),
        (200, Some(99))
    );
}

#[test]
fn empty_and_known_is_an_empty_list() {
    let scene = scene();
    let online = scene.client().list("/api/v1/services");
    scene.cut(Mode::Refuse);
    assert_eq!(
        scene.client().list("/api/v1/services").text(),
        online.text()
    );
}

#[test]
fn a_server_whose_versions_go_back_starts_a_new_history() {
    let scene = scene();
    scene
        .server
        .put(&CONFIGMAPS, object::configmap("edge", "old", &[], "x"));
    let backup = scene.server.backup();
    for n in 0..20 {
        scene.server.put(
            &CONFIGMAPS,
            object::configmap("edge", &format!("lost-{n}"), &[], "x"),
        );
    }
    let version = scene.client().list(PATH).version();
    let mut watch = scene
        .client()
        .watching(&format!("{PATH}?watch=true&resourceVersion={version}"));
    scene.cut(Mode::Refuse);
    scene.client().list(PATH);
    scene.server.restore(&backup);
    scene.server.compact();
    scene.restore();
    scene.wait("the server is asked again", || {
        scene.client().list(PATH).header("warning").is_none()
    });
    let end = watch.change();
    assert_eq!(
        (end.event.as_str(), end.object["code"].as_u64()),
        ("ERROR", Some(410)),
        "clients are told to list again"
    );
    scene.wait("the new history is there", || {
        scene.client().list(PATH).names() == ["old"]
    });
    scene.cut(Mode::Refuse);
    assert_eq!(scene.client().list(PATH).names(), ["old"]);
}
