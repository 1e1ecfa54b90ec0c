//! The line returns: only changes cross it.

use std::time::Duration;

use crate::scene;
use crate::support::apiserver::Options;
use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::cable::Mode;
use crate::support::client::Next;
use crate::support::client::Watch;
use crate::support::object;

/// Bytes of TCP and IP headers that go with each segment, for what the cable does not see.
const HEADERS: u64 = 52;

fn watch_sixty(scene: &crate::Scene) -> Vec<Watch> {
    (0..60)
        .map(|n| {
            let name = format!("c-{n:02}");
            let mut watch = scene.client().watching(&format!(
                "/api/v1/namespaces/edge/configmaps?allowWatchBookmarks=true&fieldSelector=metadata.name%3D{name}\
                 &resourceVersionMatch=NotOlderThan&sendInitialEvents=true&watch=true"
            ));
            assert_eq!(watch.event().name(), name);
            assert!(watch.event().line.contains("initial-events-end"));
            watch
        })
        .collect()
}

#[test]
fn sixty_collections_in_which_nothing_changed_cost_twenty_kilobytes_and_no_list() {
    let scene = scene();
    for n in 0..60 {
        scene.server.put(
            &CONFIGMAPS,
            object::configmap("edge", &format!("c-{n:02}"), &[], "x"),
        );
    }
    let mut watches = watch_sixty(&scene);
    for mode in [Mode::Drop, Mode::Refuse] {
        scene.cut(mode);
        scene.wait("the cut is noticed", || {
            scene
                .client()
                .get("/api/v1/namespaces/edge/configmaps/c-00")
                .is_ok_and(|answer| answer.header("warning").is_some())
        });
        // Elsewhere in the cloud things went on.
        scene.server.skip_versions(1000);
        scene.server.forget_requests();
        let before = scene.cable.counters();
        scene.restore();
        scene.wait("all sixty watch again", || {
            scene.server.watches_open() == 60
        });
        std::thread::sleep(Duration::from_millis(500));
        let crossed = scene.cable.counters().since(&before);
        // Each way a segment a request and an acknowledgement at the worst; in truth they share segments.
        let bytes = crossed.bytes() + HEADERS * 60;
        assert!(bytes <= 20_000, "{mode:?}: {crossed:?}");
        assert_eq!(scene.server.lists(), 0, "{mode:?}");
        assert!(matches!(
            watches[7].next(Duration::from_millis(10)),
            Next::Silent | Next::Event(_)
        ));
    }
    scene
        .server
        .patch_labels(&CONFIGMAPS, "edge", "c-42", &[("home", Some("again"))]);
    assert_eq!(watches[42].change().event, "MODIFIED");
}

#[test]
fn a_restarted_agent_resumes_where_its_log_ends() {
    let mut scene = scene();
    for n in 0..20 {
        scene.server.put(
            &CONFIGMAPS,
            object::configmap("edge", &format!("c-{n:02}"), &[], "x"),
        );
    }
    let path = "/api/v1/namespaces/edge/configmaps";
    let version = scene.client().list(path).version();
    scene
        .client()
        .watching(&format!("{path}?watch=true&resourceVersion={version}"));
    scene.restart();
    scene.connected();
    scene.server.forget_requests();
    scene.server.delete(&CONFIGMAPS, "edge", "c-03");
    let mut watch = scene
        .client()
        .watching(&format!("{path}?watch=true&resourceVersion={version}"));
    let event = watch.change();
    assert_eq!((event.event.as_str(), event.name()), ("DELETED", "c-03"));
    assert_eq!(scene.server.lists(), 0, "the watch was resumed");
}

#[test]
fn a_history_that_was_compacted_meanwhile_arrives_as_its_difference() {
    let scene = scene();
    for n in 0..10 {
        scene.server.put(
            &CONFIGMAPS,
            object::configmap("edge", &format!("c-{n}"), &[], "x"),
        );
    }
    let path = "/api/v1/namespaces/edge/configmaps";
    let version = scene.client().list(path).version();
    let mut watch = scene
        .client()
        .watching(&format!("{path}?watch=true&resourceVersion={version}"));
    scene.cut(Mode::Refuse);
    scene.client().list(path);
    scene
        .server
        .patch_labels(&CONFIGMAPS, "edge", "c-1", &[("a", Some("b"))]);
    scene.server.delete(&CONFIGMAPS, "edge", "c-2");
    scene
        .server
        .put(&CONFIGMAPS, object::configmap("edge", "c-new", &[], "x"));
    scene.server.compact();
    scene.restore();
    let events: Vec<_> = (0..3).map(|_| watch.change()).collect();
    let seen: Vec<_> = events
        .iter()
        .map(|event| (event.event.as_str(), event.name()))
        .collect();
    assert_eq!(
        seen,
        [("MODIFIED", "c-1"), ("DELETED", "c-2"), ("ADDED", "c-new")]
    );
    let versions: Vec<_> = events.iter().map(|event| event.version()).collect();
    assert!(
        versions.windows(2).all(|pair| pair[0] < pair[1]),
        "{versions:?}"
    );
    assert!(
        matches!(watch.next(Duration::from_millis(100)), Next::Silent),
        "once each, and the watch goes on"
    );
}

#[test]
fn an_older_server_without_watch_list_and_one_without_http2_serve_as_well() {
    for options in [
        Options {
            watch_list: false,
            ..Options::default()
        },
        Options {
            protocols: vec!["http/1.1"],
            ..Options::default()
        },
        Options {
            max_streams: Some(12),
            ..Options::default()
        },
        Options {
            goaway_after: Some(5),
            ..Options::default()
        },
    ] {
        let name = format!("{options:?}");
        let scene = crate::Scene::with(crate::agent(), options, &["--drop-name-prefix", "skip-"]);
        for n in 0..60 {
            scene.server.put(
                &CONFIGMAPS,
                object::configmap("edge", &format!("c-{n:02}"), &[], "x"),
            );
        }
        let mut watches = watch_sixty(&scene);
        scene
            .server
            .patch_labels(&CONFIGMAPS, "edge", "c-59", &[("a", Some("b"))]);
        assert_eq!(watches[59].change().event, "MODIFIED", "{name}");
        let path = "/api/v1/namespaces/edge/configmaps";
        assert_eq!(scene.client().list(path).names().len(), 60, "{name}");
        scene.cut(Mode::Reset);
        assert_eq!(scene.client().list(path).names().len(), 60, "{name}");
        scene.restore();
        scene
            .server
            .patch_labels(&CONFIGMAPS, "edge", "c-58", &[("a", Some("b"))]);
        assert_eq!(watches[58].change().event, "MODIFIED", "{name}");
    }
}

#[test]
fn every_watch_comes_back_to_a_server_that_allows_few_streams() {
    for max_streams in [3, 12] {
        let options = Options {
            max_streams: Some(max_streams),
            ..Options::default()
        };
        let scene = crate::Scene::with(crate::agent(), options, &[]);
        for n in 0..60 {
            scene.server.put(
                &CONFIGMAPS,
                object::configmap("edge", &format!("c-{n:02}"), &[], "x"),
            );
        }
        let _watches = watch_sixty(&scene);
        for round in 0..5 {
            scene.cut(Mode::Reset);
            scene.wait("all sixty have gone", || scene.server.watches_open() == 0);
            scene.restore();
            let what = format!("all sixty watch again, {max_streams} streams, round {round}");
            scene.wait(&what, || scene.server.watches_open() == 60);
        }
    }
}

#[test]
fn a_server_that_went_back_behind_what_a_list_said_is_found_out() {
    let scene = scene();
    scene
        .server
        .put(&CONFIGMAPS, object::configmap("edge", "a", &[], "x"));
    let path = "/api/v1/namespaces/edge/configmaps";
    let version = scene.client().list(path).version();
    let mut watch = scene
        .client()
        .watching(&format!("{path}?watch=true&resourceVersion={version}"));
    scene.server.skip_versions(1);
    let backup = scene.server.backup();
    scene.server.skip_versions(2);
    // The mirror holds what the list shows, and remembers its version.
    assert_eq!(scene.client().list(path).version(), version + 3);
    scene.server.restore(&backup);
    scene.server.disconnect();
    assert_eq!(scene.client().list(path).version(), version + 1);
    assert_eq!(watch.change().event, "ERROR");
    // Open before anything changes: the mirror that starts anew can be watched from what it was filled with on.
    let mut watch = scene.client().watching(&format!(
        "{path}?watch=true&resourceVersion={}",
        version + 1
    ));
    scene
        .server
        .put(&CONFIGMAPS, object::configmap("edge", "b", &[], "x"));
    assert_eq!(watch.change().name(), "b");
}

#[test]
fn who_lists_while_cut_off_can_watch_from_there_though_a_broader_collection_is_ahead() {
    let mut scene = scene();
    scene
        .server
        .put(&CONFIGMAPS, object::configmap("edge", "a", &[], "x"));
    let (narrow, broad) = ("/api/v1/namespaces/edge/configmaps", "/api/v1/configmaps");
    let version = scene.client().list(narrow).version();
    scene.kill();
    scene.start();
    scene
        .server
        .put(&CONFIGMAPS, object::configmap("edge", "b", &[], "x"));
    assert_eq!(scene.client().list(broad).version(), version + 1);
    scene.cut_off(Mode::Refuse);
    let listed = scene.client().list(narrow).version();
    let mut watch = scene
        .client()
        .watching(&format!("{narrow}?watch=true&resourceVersion={listed}"));
    // What the list showed and what was missed: each once, the deletion too.
    scene.server.delete(&CONFIGMAPS, "edge", "b");
    scene.server.delete(&CONFIGMAPS, "edge", "a");
    scene.server.compact();
    scene.restore();
    let deleted = watch.change();
    assert_eq!((deleted.event.as_str(), deleted.name()), ("DELETED", "a"));
}
