//! W036–W043: what a filter or a selector does to lists and watches. The agent drops what is named `skip-…`.

use std::time::Duration;

use super::BOTH;
use super::MAPS;
use super::changes;
use super::initial;
use super::put_map;
use super::put_maps;
use super::scene;
use super::watch_after;
use super::with;
use crate::Scene;
use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::cable::Mode;
use crate::support::client::Next;
use crate::support::client::Watch;
use crate::support::object;

/// An object enters, stays in, leaves and enters again what a watch selects by `k=v`.
fn enters_and_leaves(scene: &Scene, watch: &mut Watch) {
    let label = |value| {
        let labels = [("k", value)];
        let version = scene.server.patch_labels(&CONFIGMAPS, "ns", "c-0", &labels);
        version.expect("it is there")
    };
    for (value, event, held) in [
        (Some("v"), "ADDED", Some("v")),
        (Some("w"), "DELETED", Some("v")),
        (Some("v"), "ADDED", Some("v")),
        (None, "DELETED", Some("v")),
    ] {
        let version = label(value);
        let change = watch.change();
        assert_eq!(
            (change.event.as_str(), change.name(), change.version()),
            (event, "c-0", version)
        );
        let shown = &change.object["metadata"]["labels"]["k"];
        assert_eq!(shown.as_str(), held, "as it was known: {}", change.line);
    }
}

#[test]
fn w036_an_object_that_starts_to_match_is_added_and_one_that_stops_is_deleted_as_it_was() {
    let scene = scene();
    put_maps(&scene, 2);
    let selected = with(MAPS, "labelSelector=k%3Dv");
    let version = scene.client().list(&selected).version();
    enters_and_leaves(&scene, &mut watch_after(&scene, &selected, version));
    // The same where the selection is made here: on a broader collection, for a client that came while cut off.
    let narrower = with(MAPS, "labelSelector=k+in+(v)");
    let version = scene.client().list(MAPS).version();
    scene.cut_off(Mode::Refuse);
    let mut watch = watch_after(&scene, &narrower, version);
    scene.restore();
    enters_and_leaves(&scene, &mut watch);
}

#[test]
fn w037_the_deletion_of_what_was_never_shown_is_swallowed_and_the_version_moves_on() {
    let scene = scene();
    put_maps(&scene, 1);
    put_map(&scene, "skip-0");
    let version = scene.client().list(MAPS).version();
    let mut watch = watch_after(&scene, &with(MAPS, "timeoutSeconds=2"), version);
    let deleted = scene.server.delete(&CONFIGMAPS, "ns", "skip-0");
    let (events, end) = watch.collect(Duration::from_secs(20));
    assert!(matches!(end, Next::Ended), "{end:?}");
    assert!(
        events.iter().all(|event| event.event == "BOOKMARK"),
        "{events:?}"
    );
    assert_eq!(events.last().map(|event| event.version()), deleted);
}

#[test]
fn w038_a_watch_whose_events_are_all_filtered_is_sent_bookmarks_that_move_on() {
    let scene = scene();
    put_maps(&scene, 1);
    let version = scene.client().list(MAPS).version();
    let mut watch = watch_after(&scene, MAPS, version);
    // The first one comes soon after the start.
    assert_eq!(watch.event().event, "BOOKMARK");
    let mut last = version;
    for n in 0..50 {
        last = put_map(&scene, &format!("skip-{n}"));
    }
    match watch.next(Duration::from_secs(75)) {
        Next::Event(event) => {
            assert_eq!((event.event.as_str(), event.version()), ("BOOKMARK", last));
        }
        other => panic!("a bookmark a minute: {other:?}"),
    }
}

#[test]
fn w042_the_bookmark_behind_filtered_initial_events_is_at_the_servers_version() {
    let scene = scene();
    put_maps(&scene, 2);
    let last = put_map(&scene, "skip-0");
    let mut watch = scene.client().watching(&with(MAPS, BOTH));
    initial(&mut watch, &["c-0", "c-1"], last);
    let version = scene.server.put(
        &CONFIGMAPS,
        object::configmap("ns", "c-2", &[("k", "v")], "x"),
    );
    let added = ("ADDED".to_owned(), "c-2".to_owned(), version);
    assert_eq!(changes(&mut watch, 1), [added]);
}

#[test]
fn w043_a_filtered_page_keeps_its_token_and_counts_nothing() {
    let scene = scene();
    put_maps(&scene, 3);
    for n in 0..3 {
        put_map(&scene, &format!("skip-{n}"));
    }
    let theirs = scene.direct().list(&with(MAPS, "limit=2")).json();
    assert_eq!(theirs["metadata"]["remainingItemCount"], 4);
    let (mut names, mut query) = (Vec::new(), "limit=2".to_owned());
    loop {
        let page = scene.client().list(&with(MAPS, &query));
        names.extend(page.names());
        let metadata = page.json()["metadata"].clone();
        let counted = metadata.get("remainingItemCount");
        assert_eq!(counted, None, "it would count what is dropped");
        match metadata["continue"].as_str() {
            Some(token) if !token.is_empty() => query = format!("limit=2&continue={token}"),
            _ => break,
        }
    }
    assert_eq!(names, ["c-0", "c-1", "c-2"]);
}

#[test]
fn what_is_dropped_is_not_shown_by_the_deprecated_form_of_a_watch_either() {
    let scene = scene();
    put_map(&scene, "skip-0");
    put_map(&scene, "z-0");
    let target = "/api/v1/watch/namespaces/ns/configmaps";
    let mut watch = scene.client().watching(target);
    assert_eq!(watch.event().name(), "z-0");
}
