//! Watches: initial events, replay, bookmarks, ends, and narrower views of a broader collection.

use std::time::Duration;

use crate::scene;
use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::apiserver::kind::PODS;
use crate::support::cable::Mode;
use crate::support::client::Next;
use crate::support::object;

const PATH: &str = "/api/v1/namespaces/edge/configmaps";
const BOTH: &str =
    "watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";

fn fill(scene: &crate::Scene, count: usize) {
    for n in 0..count {
        scene.server.put(
            &CONFIGMAPS,
            object::configmap(
                "edge",
                &format!("c-{n:02}"),
                &[("half", ["a", "b"][n % 2])],
                "x",
            ),
        );
    }
}

#[test]
fn initial_events_fill_the_mirror_as_a_list_does_and_are_one_upstream_watch() {
    let scene = scene();
    fill(&scene, 10);
    let mut watches: Vec<_> = (0..8)
        .map(|_| scene.client().watching(&format!("{PATH}?{BOTH}")))
        .collect();
    for watch in &mut watches {
        let events: Vec<_> = (0..11).map(|_| watch.event()).collect();
        assert!(events[..10].iter().all(|event| event.event == "ADDED"));
        assert!(
            events[10]
                .line
                .contains("\"k8s.io/initial-events-end\":\"true\"")
        );
    }
    assert_eq!((scene.server.watches_open(), scene.server.lists()), (1, 1));
    scene
        .server
        .patch_labels(&CONFIGMAPS, "edge", "c-03", &[("x", Some("y"))]);
    let lines: Vec<_> = watches
        .iter_mut()
        .map(|watch| watch.change().line)
        .collect();
    assert!(lines.iter().all(|line| *line == lines[0]));
    scene.cut(Mode::Refuse);
    assert_eq!(
        scene.client().list(PATH).text(),
        scene.direct().list(PATH).text()
    );
}

#[test]
fn a_watch_from_an_earlier_version_is_replayed_online_offline_and_after_a_restart() {
    let mut scene = scene();
    fill(&scene, 6);
    let version = scene.client().list(PATH).version();
    let from = |version: u64| {
        format!("{PATH}?watch=true&allowWatchBookmarks=true&resourceVersion={version}")
    };
    let mut live = scene.client().watching(&from(version));
    scene
        .server
        .patch_labels(&CONFIGMAPS, "edge", "c-01", &[("n", Some("1"))]);
    scene
        .server
        .patch_labels(&CONFIGMAPS, "edge", "c-01", &[("n", Some("2"))]);
    scene.server.delete(&CONFIGMAPS, "edge", "c-02");
    scene
        .server
        .put(&CONFIGMAPS, object::configmap("edge", "new", &[], "x"));
    let heard: Vec<_> = (0..4).map(|_| live.change()).collect();
    let expected: Vec<_> = heard[1..]
        .iter()
        .map(|event| (event.name().to_owned(), event.version()))
        .collect();
    let middle = heard[2].version();
    let replays = |scene: &crate::Scene, what: &str| {
        let mut watch = scene.client().watching(&from(version));
        let seen: Vec<_> = (0..3).map(|_| watch.change()).collect();
        let found: Vec<_> = seen
            .iter()
            .map(|event| (event.name().to_owned(), event.version()))
            .collect();
        assert_eq!(found, expected, "{what}: the last change of each, in order");
        assert_eq!(seen[1].event, "DELETED", "{what}");
        let bookmark = watch.event();
        assert_eq!(
            (bookmark.event.as_str(), bookmark.version()),
            ("BOOKMARK", expected[2].1),
            "{what}"
        );
        let mut watch = scene.client().watching(&from(middle));
        assert_eq!(watch.change().name(), "new", "{what}: only what came after");
    };
    replays(&scene, "online");
    scene.cut(Mode::Refuse);
    scene.client().list(PATH);
    replays(&scene, "offline");
    scene.restart();
    replays(&scene, "after a restart");
    let mut old = scene.client().watching(&from(1));
    let end = old.change();
    assert_eq!(
        (end.event.as_str(), end.object["code"].as_u64()),
        ("ERROR", Some(410)),
        "before anything that is known"
    );
    let mut future = scene.client().watching(&from(9_999));
    assert_eq!(
        future.change().object["code"],
        410,
        "offline, nobody can be ahead of what is known"
    );
}

#[test]
fn a_narrower_watch_on_a_broader_collection_has_selector_semantics_also_when_the_line_returns() {
    let scene = scene();
    fill(&scene, 4);
    scene.client().list(PATH);
    scene.cut(Mode::Refuse);
    let mut watch = scene
        .client()
        .watching(&format!("{PATH}?{BOTH}&labelSelector=half%3Da"));
    let names: Vec<_> = (0..2).map(|_| watch.event().name().to_owned()).collect();
    assert_eq!(names, ["c-00", "c-02"]);
    assert!(watch.event().line.contains("initial-events-end"));
    scene.restore();
    scene
        .server
        .patch_labels(&CONFIGMAPS, "edge", "c-01", &[("half", Some("a"))]);
    let enters = watch.change();
    assert_eq!((enters.event.as_str(), enters.name()), ("ADDED", "c-01"));
    let version = scene
        .server
        .patch_labels(&CONFIGMAPS, "edge", "c-00", &[("half", Some("b"))])
        .expect("it is there");
    let leaves = watch.change();
    assert_eq!(
        (leaves.event.as_str(), leaves.name(), leaves.version()),
        ("DELETED", "c-00", version)
    );
    assert_eq!(
        leaves.object["metadata"]["labels"]["half"], "a",
        "as it was known"
    );
    scene
        .server
        .patch_labels(&CONFIGMAPS, "edge", "c-03", &[("other", Some("x"))]);
    scene
        .server
        .patch_labels(&CONFIGMAPS, "edge", "c-02", &[("other", Some("x"))]);
    let stays = watch.change();
    assert_eq!(
        (stays.event.as_str(), stays.name()),
        ("MODIFIED", "c-02"),
        "c-03 was never seen"
    );
}

#[test]
fn a_watch_without_a_version_begins_with_what_is_there() {
    let scene = scene();
    fill(&scene, 3);
    for query in ["watch=true", "watch=1&resourceVersion=0"] {
        let mut watch = scene.client().watching(&format!("{PATH}?{query}"));
        let events: Vec<_> = (0..3).map(|_| watch.event()).collect();
        assert!(events.iter().all(|event| event.event == "ADDED"), "{query}");
        assert!(
            matches!(watch.next(Duration::from_millis(50)), Next::Silent),
            "{query}: no bookmark that was not asked for"
        );
    }
}

#[test]
fn a_watch_ends_at_its_time_with_a_bookmark_and_well() {
    let scene = scene();
    fill(&scene, 2);
    let version = scene.client().list(PATH).version();
    let target = format!(
        "{PATH}?watch=true&allowWatchBookmarks=true&resourceVersion={version}&timeoutSeconds=1"
    );
    let mut watch = scene.client().watching(&target);
    let (events, end) = watch.collect(Duration::from_secs(5));
    assert!(matches!(end, Next::Ended), "{end:?}");
    assert_eq!(
        events
            .last()
            .map(|event| (event.event.as_str(), event.version())),
        Some(("BOOKMARK", version))
    );
}

#[test]
fn a_time_that_no_clock_can_hold_is_a_long_watch() {
    let scene = scene();
    fill(&scene, 2);
    let version = scene.client().list(PATH).version();
    for seconds in [
        "18446744073709551615",
        "9223372036854775807",
        "99999999999999999999999",
        "-1",
    ] {
        let target =
            format!("{PATH}?watch=true&resourceVersion={version}&timeoutSeconds={seconds}");
        let watch = scene.client().watch(&target).expect("an answer");
        assert!(
            matches!(watch.status, 200 | 400),
            "{seconds}: {}",
            watch.status
        );
    }
    assert_eq!(
        scene.client().list(PATH).names().len(),
        2,
        "the agent lives"
    );
}

#[test]
fn what_the_server_refuses_is_passed_on_and_retried_later() {
    use crate::support::apiserver::Action;
    use crate::support::apiserver::Only;
    let scene = scene();
    scene
        .server
        .put(&PODS, object::pod("edge", "p", "edge-00", &[]));
    scene
        .server
        .fail("/pods", Only::All, 1, Action::Status(403));
    let refused = scene
        .client()
        .watch(&format!("/api/v1/pods?{BOTH}"))
        .expect("an answer");
    assert_eq!(refused.status, 403);
    scene.wait("it is asked again", || {
        scene
            .client()
            .watch(&format!("/api/v1/pods?{BOTH}"))
            .is_ok_and(|watch| watch.status == 200)
    });
}

#[test]
fn options_that_do_not_go_together_are_the_servers_to_refuse() {
    let scene = scene();
    scene.connected();
    let ours = scene
        .client()
        .get(&format!("{PATH}?watch=true&sendInitialEvents=true"))
        .expect("an answer");
    let theirs = scene
        .direct()
        .get(&format!("{PATH}?watch=true&sendInitialEvents=true"))
        .expect("an answer");
    assert_eq!((ours.status, ours.text()), (theirs.status, theirs.text()));
    scene.cut(Mode::Refuse);
    scene.client().get(PATH).expect("an answer");
    let offline = scene
        .client()
        .get(&format!("{PATH}?watch=true&sendInitialEvents=true"))
        .expect("an answer");
    assert_eq!(offline.status, 400);
}

#[test]
fn what_two_lists_differ_by_has_a_version_each_so_that_a_client_may_leave_anywhere() {
    let scene = scene();
    for name in ["changes", "goes", "leaves", "stays"] {
        scene
            .server
            .put(&CONFIGMAPS, object::configmap("edge", name, &[], "x"));
    }
    let version = scene.client().list(PATH).version();
    scene.server.delete(&CONFIGMAPS, "edge", "goes");
    scene.server.delete(&CONFIGMAPS, "edge", "leaves");
    // The last change of all: the list's version is that object's.
    scene
        .server
        .patch_labels(&CONFIGMAPS, "edge", "changes", &[("x", Some("y"))]);
    let listed = scene.client().list(PATH).version();
    let from = |version: u64| {
        scene
            .client()
            .watching(&format!("{PATH}?watch=true&resourceVersion={version}"))
    };
    let mut whole = from(version);
    let events: Vec<_> = (0..3).map(|_| whole.change()).collect();
    let mut names: Vec<_> = events.iter().map(|event| event.name().to_owned()).collect();
    names.sort();
    assert_eq!(names, ["changes", "goes", "leaves"]);
    let versions: Vec<_> = events.iter().map(|event| event.version()).collect();
    assert!(
        versions.windows(2).all(|pair| pair[0] < pair[1]) && versions[2] <= listed,
        "{versions:?}"
    );
    for (n, event) in events.iter().enumerate().take(2) {
        assert_eq!(
            from(event.version()).change().name(),
            events[n + 1].name(),
            "left after {}",
            event.name()
        );
    }
}
