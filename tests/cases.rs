//! The conformance cases of what a node's clients see, one test a number; `cases/LATER.md` lists those that are not shown
//! yet. A name is `w`, the case's number, and what it shows.

mod faults;
mod forwarded;
mod json;
mod protobuf;
mod tokens;
mod writes;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Scene;
use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::apiserver::kind::NODES;
use crate::support::apiserver::kind::PODS;
use crate::support::client::Answer;
use crate::support::client::Next;
use crate::support::client::Watch;
use crate::support::object;

/// A namespace's ConfigMaps.
pub(crate) const MAPS: &str = "/api/v1/namespaces/ns/configmaps";
/// The pods of this node, as its kubelet asks for them.
pub(crate) const PODS_HERE: &str = "/api/v1/pods?fieldSelector=spec.nodeName%3Dedge-00";
/// The query of an informer that wants objects and changes in one stream.
pub(crate) const BOTH: &str =
    "watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
/// What clients accept that would rather have protobuf.
const PROTOBUF_OR_JSON: &str = "application/vnd.kubernetes.protobuf,application/json";
/// What `kubectl get` accepts first.
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

/// Puts `c-0` and so on into the namespace.
pub(crate) fn put_maps(scene: &Scene, count: usize) {
    for n in 0..count {
        put_map(scene, &format!("c-{n}"));
    }
}

/// Creates or changes one ConfigMap; its version.
pub(crate) fn put_map(scene: &Scene, name: &str) -> u64 {
    let value = scene.server.version().to_string();
    scene
        .server
        .put(&CONFIGMAPS, object::configmap("ns", name, &[], &value))
}

/// Two pods of this node, one of another, and both nodes.
pub(crate) fn put_pods(scene: &Scene) {
    for (name, node) in [("p1", "edge-00"), ("p2", "edge-00"), ("p3", "edge-01")] {
        scene.server.put(&PODS, object::pod("ns", name, node, &[]));
    }
    for name in ["edge-00", "edge-01"] {
        scene.server.put(&NODES, object::node(name));
    }
}

/// The target with more in its query.
pub(crate) fn with(target: &str, query: &str) -> String {
    let mark = if target.contains('?') { '&' } else { '?' };
    format!("{target}{mark}{query}")
}

/// Any answer.
#[track_caller]
pub(crate) fn ask(scene: &Scene, target: &str) -> Answer {
    scene.client().get(target).expect("an answer")
}

/// The code and the reason of a refusal.
#[track_caller]
pub(crate) fn refusal(scene: &Scene, target: &str) -> (u16, String) {
    let answer = ask(scene, target);
    (answer.status, answer.reason())
}

/// A watch after a version, bookmarks allowed, that is answered with 200.
#[track_caller]
pub(crate) fn watch_after(scene: &Scene, target: &str, version: u64) -> Watch {
    let query = format!("allowWatchBookmarks=true&resourceVersion={version}&watch=true");
    scene.client().watching(&with(target, &query))
}

/// The next line must be a bookmark at this version.
#[track_caller]
pub(crate) fn bookmark_at(watch: &mut Watch, version: u64) {
    let event = watch.event();
    assert_eq!(
        (event.event.as_str(), event.version()),
        ("BOOKMARK", version),
        "{}",
        event.line
    );
}

/// The type, name and version of the next `count` changes.
#[track_caller]
pub(crate) fn changes(watch: &mut Watch, count: usize) -> Vec<(String, String, u64)> {
    (0..count)
        .map(|_| watch.change())
        .map(|change| {
            let name = change.name().to_owned();
            let version = change.version();
            (change.event, name, version)
        })
        .collect()
}

/// Initial events: these names as ADDED, and the annotated bookmark at this version.
#[track_caller]
pub(crate) fn initial(watch: &mut Watch, names: &[&str], version: u64) {
    for name in names {
        let event = watch.event();
        assert_eq!((event.event.as_str(), event.name()), ("ADDED", *name));
    }
    let end = watch.event();
    assert_eq!((end.event.as_str(), end.version()), ("BOOKMARK", version));
    assert_eq!(
        end.object["metadata"]["annotations"]["k8s.io/initial-events-end"], "true",
        "{}",
        end.line
    );
}

/// The watch says 410 in an ERROR event, and ends.
#[track_caller]
fn expires(watch: &mut Watch) {
    let error = watch.change();
    assert_eq!(error.event, "ERROR", "{}", error.line);
    assert_eq!(error.object["kind"], "Status", "{}", error.line);
    assert_eq!(
        (
            error.object["code"].as_u64(),
            error.object["reason"].as_str()
        ),
        (Some(410), Some("Expired")),
        "{}",
        error.line
    );
    let next = watch.next(Duration::from_secs(10));
    assert!(matches!(next, Next::Ended), "{next:?}");
}

/// The watch is open and says nothing for a moment, bookmarks aside.
#[track_caller]
pub(crate) fn hangs(watch: &mut Watch) {
    let (events, end) = watch.collect(Duration::from_millis(300));
    assert!(matches!(end, Next::Silent), "{end:?}");
    assert!(
        events.iter().all(|event| event.event == "BOOKMARK"),
        "{events:?}"
    );
}

#[test]
fn every_case_is_a_test_or_stands_in_the_list_of_later_ones() {
    let sources = [
        include_str!("cases/cut.rs"),
        include_str!("cases/faults.rs"),
        include_str!("cases/filtering.rs"),
        include_str!("cases/forms.rs"),
        include_str!("cases/forwarded.rs"),
        include_str!("cases/frames.rs"),
        include_str!("cases/home.rs"),
        include_str!("cases/offline.rs"),
        include_str!("cases/online.rs"),
        include_str!("cases/robust.rs"),
        include_str!("cases/start.rs"),
        include_str!("cases/tokens.rs"),
        include_str!("cases/unknown.rs"),
        include_str!("cases/writes.rs"),
    ];
    let tests = sources
        .iter()
        .flat_map(|source| source.split("#[test]\n").skip(1))
        .filter_map(|test| test.split_once("fn w")?.1.split('_').next()?.parse().ok());
    let rows = include_str!("cases/LATER.md")
        .lines()
        .filter_map(|row| row.strip_prefix("| ")?.split(' ').next()?.parse().ok());
    let mut times: BTreeMap<u32, usize> = BTreeMap::new();
    for case in tests.chain(rows) {
        *times.entry(case).or_default() += 1;
    }
    assert_eq!(times, (1..=110).map(|case| (case, 1)).collect());
}
