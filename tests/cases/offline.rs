//! W059–W068: lists and watches of what is mirrored, while the line is down.

use super::BOTH;
use super::MAPS;
use super::PODS_HERE;
use super::ask;
use super::bookmark_at;
use super::changes;
use super::expires;
use super::hangs;
use super::initial;
use super::put_map;
use super::put_maps;
use super::put_pods;
use super::refusal;
use super::scene;
use super::watch_after;
use super::with;
use crate::Scene;
use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::cable::Mode;
use crate::support::client::Next;
use std::time::Duration;

/// The pods of this node are mirrored, and the line is cut; the version that they are complete at.
fn pods_offline() -> (Scene, u64) {
    let scene = scene();
    put_pods(&scene);
    let version = scene.client().list(PODS_HERE).version();
    scene.cut_off(Mode::Refuse);
    (scene, version)
}

/// Three ConfigMaps, of which `c-1` is changed twice and `c-2` deleted under a watch; then the line is cut. The version
/// before the changes, and those of the three changes.
fn changed_offline() -> (Scene, u64, [u64; 3]) {
    let scene = scene();
    put_maps(&scene, 3);
    let version = scene.client().list(MAPS).version();
    let mut watch = watch_after(&scene, MAPS, version);
    let first = put_map(&scene, "c-1");
    let gone = scene.server.delete(&CONFIGMAPS, "ns", "c-2");
    let last = put_map(&scene, "c-1");
    let seen: Vec<u64> = changes(&mut watch, 3).into_iter().map(|c| c.2).collect();
    let all = [first, gone.expect("it was there"), last];
    assert_eq!(seen, all);
    scene.cut_off(Mode::Refuse);
    (scene, version, all)
}

#[test]
fn w059_a_list_at_any_known_version_is_the_whole_mirror_at_its_own_version() {
    let (scene, version) = pods_offline();
    let online = scene.direct().list(PODS_HERE);
    for query in [
        "resourceVersion=0".to_owned(),
        "resourceVersion=".to_owned(),
        format!("resourceVersion={version}"),
        "resourceVersion=1&resourceVersionMatch=NotOlderThan".to_owned(),
    ] {
        let list = scene.client().list(&with(PODS_HERE, &query));
        assert_eq!(
            (list.version(), &list.body),
            (version, &online.body),
            "{query}"
        );
    }
    assert_eq!(scene.client().list(PODS_HERE).names(), ["p1", "p2"]);
}

#[test]
fn w060_a_list_ahead_of_the_mirror_is_504_without_retry_after_and_the_next_is_the_mirror() {
    let (scene, version) = pods_offline();
    let target = with(PODS_HERE, &format!("resourceVersion={}", version + 1));
    let answer = ask(&scene, &target);
    assert_eq!((answer.status, answer.reason().as_str()), (504, "Timeout"));
    let details = &answer.json()["details"];
    assert_eq!(details["causes"][0]["reason"], "ResourceVersionTooLarge");
    assert_eq!(answer.header("retry-after"), None);
    assert_eq!(details.get("retryAfterSeconds"), None);
    assert_eq!(scene.client().list(PODS_HERE).version(), version);
}

#[test]
fn w061_a_limit_is_one_long_page() {
    let (scene, version) = pods_offline();
    for query in ["limit=1", "limit=1&resourceVersion=0"] {
        let list = scene.client().list(&with(PODS_HERE, query));
        assert_eq!(
            (list.names().len(), list.version()),
            (2, version),
            "{query}"
        );
        let metadata = list.json()["metadata"].clone();
        assert_eq!(metadata.get("continue"), None, "{query}");
        assert_eq!(metadata.get("remainingItemCount"), None, "{query}");
    }
}

#[test]
fn w062_a_page_that_was_begun_online_has_expired_offline() {
    let scene = scene();
    put_maps(&scene, 3);
    scene.client().list(MAPS);
    let page = scene.client().list(&with(MAPS, "limit=2")).json();
    let token = page["metadata"]["continue"].as_str().expect("a token");
    scene.cut_off(Mode::Refuse);
    let next = with(MAPS, &format!("limit=2&continue={token}"));
    assert_eq!(refusal(&scene, &next), (410, "Expired".to_owned()));
}

#[test]
fn w063_exactly_another_version_has_expired() {
    let (scene, version) = pods_offline();
    let exact = |version: u64| {
        let query = format!("resourceVersion={version}&resourceVersionMatch=Exact");
        with(PODS_HERE, &query)
    };
    let expired = (410, "Expired".to_owned());
    assert_eq!(refusal(&scene, &exact(version - 1)), expired);
    // One that is still to come is too large, as it is for any list: so says the server, too.
    let too_large = (504, "Timeout".to_owned());
    assert_eq!(refusal(&scene, &exact(version + 1)), too_large);
    assert_eq!(scene.client().list(&exact(version)).version(), version);
}

#[test]
fn w064_a_watch_from_an_earlier_version_is_told_what_changed_since_in_order() {
    let (scene, version, [_, gone, last]) = changed_offline();
    let mut watch = watch_after(&scene, MAPS, version);
    let expected = [("DELETED", "c-2", gone), ("MODIFIED", "c-1", last)];
    let expected = expected.map(|(event, name, v)| (event.to_owned(), name.to_owned(), v));
    assert_eq!(changes(&mut watch, 2), expected);
    bookmark_at(&mut watch, last);
    hangs(&mut watch);
    let mut later = watch_after(&scene, MAPS, gone);
    assert_eq!(changes(&mut later, 1), expected[1..]);
}

#[test]
fn w065_a_watch_from_before_what_is_remembered_has_expired() {
    let (scene, _, _) = changed_offline();
    expires(&mut watch_after(&scene, MAPS, 1));
}

#[test]
fn w066_a_watch_ahead_of_the_mirror_has_expired() {
    let (scene, _, [_, _, last]) = changed_offline();
    expires(&mut watch_after(&scene, MAPS, last + 1));
}

#[test]
fn w067_initial_events_offline_are_the_mirror_and_its_annotated_bookmark() {
    let (scene, version, [_, _, last]) = changed_offline();
    for query in [
        BOTH.to_owned(),
        format!("{BOTH}&resourceVersion=0"),
        format!("{BOTH}&resourceVersion={version}"),
        format!("{BOTH}&resourceVersion={last}"),
    ] {
        let mut watch = scene.client().watching(&with(MAPS, &query));
        initial(&mut watch, &["c-0", "c-1"], last);
        hangs(&mut watch);
    }
    let ahead = format!("{BOTH}&resourceVersion={}", last + 1);
    let mut watch = scene.client().watching(&with(MAPS, &ahead));
    let error = watch.event();
    assert_eq!(
        (error.event.as_str(), error.object["code"].as_u64()),
        ("ERROR", Some(504))
    );
    let cause = &error.object["details"]["causes"][0]["reason"];
    assert_eq!(cause, "ResourceVersionTooLarge");
    assert!(matches!(watch.next(Duration::from_secs(10)), Next::Ended));
}

#[test]
fn w068_initial_events_of_what_is_known_to_be_empty_are_the_annotated_bookmark() {
    let scene = scene();
    put_maps(&scene, 1);
    let version = scene.client().list("/api/v1/services").version();
    scene.cut_off(Mode::Refuse);
    let mut watch = scene.client().watching(&with("/api/v1/services", BOTH));
    initial(&mut watch, &[], version);
    hangs(&mut watch);
}
