//! W092–W096, W099, W100, W102, W103: the line returns.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use super::BOTH;
use super::MAPS;
use super::PODS_HERE;
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
use crate::support::apiserver::Action;
use crate::support::apiserver::Only;
use crate::support::apiserver::kind::CAMERAS;
use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::apiserver::kind::PODS;
use crate::support::cable::Mode;
use crate::support::client::Watch;
use crate::support::object;

/// A watch of a mirrored collection, and the line cut behind it; the version that the collection is complete at.
fn watched(scene: &Scene, target: &str) -> (Watch, u64) {
    let version = scene.client().list(target).version();
    let mut watch = watch_after(scene, target, version);
    bookmark_at(&mut watch, version);
    scene.cut_off(Mode::Refuse);
    scene.server.forget_requests();
    (watch, version)
}

/// Mends the line; the server has forgotten its history if so said.
fn restore(scene: &Scene, compacted: bool) {
    if compacted {
        scene.server.compact();
    }
    scene.restore();
}

#[test]
fn w092_nothing_changed_is_one_watch_where_it_was_and_nothing_for_clients() {
    let scene = scene();
    put_maps(&scene, 3);
    let (mut watch, version) = watched(&scene, MAPS);
    scene.restore();
    scene.wait("it runs upstream", || scene.server.watches_open() == 1);
    hangs(&mut watch);
    let asked = scene.server.requests();
    assert_eq!((asked.len(), asked[0].watch), (1, true));
    let from = format!("resourceVersion={version}&");
    assert!(asked[0].target.contains(&from), "{}", asked[0].target);
}

#[test]
fn w093_a_history_that_is_gone_is_one_list_whose_difference_arrives_as_events() {
    let scene = scene();
    put_maps(&scene, 4);
    let (mut watch, version) = watched(&scene, MAPS);
    let modified = put_map(&scene, "c-1");
    scene.server.delete(&CONFIGMAPS, "ns", "c-2");
    let added = put_map(&scene, "c-4");
    restore(&scene, true);
    let mut seen = changes(&mut watch, 3);
    hangs(&mut watch);
    assert!(seen.is_sorted_by_key(|change| change.2), "{seen:?}");
    assert!(seen[0].2 > version && seen[2].2 <= added, "{seen:?}");
    seen.sort_by_key(|change| change.1.clone());
    assert_eq!(seen[0], ("MODIFIED".to_owned(), "c-1".to_owned(), modified));
    assert_eq!((seen[1].0.as_str(), seen[1].1.as_str()), ("DELETED", "c-2"));
    assert_eq!(seen[2], ("ADDED".to_owned(), "c-4".to_owned(), added));
    assert_eq!(scene.server.lists(), 1);
}

#[test]
fn w094_a_pod_that_was_deleted_meanwhile_is_deleted_once_with_what_it_was() {
    for compacted in [false, true] {
        let scene = scene();
        put_pods(&scene);
        let (mut watch, version) = watched(&scene, PODS_HERE);
        scene.server.delete(&PODS, "ns", "p1");
        restore(&scene, compacted);
        let gone = watch.change();
        assert_eq!((gone.event.as_str(), gone.name()), ("DELETED", "p1"));
        assert_eq!(gone.object["spec"]["nodeName"], "edge-00");
        assert!(gone.version() > version, "{}", gone.line);
        hangs(&mut watch);
        assert_eq!(scene.client().list(PODS_HERE).names(), ["p2"]);
    }
}

#[test]
fn w095_a_pod_that_was_evicted_meanwhile_is_modified_and_its_deletion_passes() {
    let scene = scene();
    put_pods(&scene);
    let (mut watch, _) = watched(&scene, PODS_HERE);
    let evicted = json!({"metadata": {"deletionTimestamp": "2026-11-22T04:00:00Z", "deletionGracePeriodSeconds": 30}});
    let version = scene.server.patch(&PODS, "ns", "p1", &evicted);
    scene.restore();
    let change = watch.change();
    assert_eq!(
        (change.event.as_str(), Some(change.version())),
        ("MODIFIED", version)
    );
    let time = &change.object["metadata"]["deletionTimestamp"];
    assert_eq!(time, "2026-11-22T04:00:00Z");
    let target = "/api/v1/namespaces/ns/pods/p1?gracePeriodSeconds=0";
    let deleted = scene.client().request("DELETE", target, &[], b"");
    assert_eq!(deleted.expect("an answer").status, 200);
    let gone = (
        "DELETED".to_owned(),
        "p1".to_owned(),
        scene.server.version(),
    );
    assert_eq!(changes(&mut watch, 1), [gone]);
}

#[test]
fn w096_a_pod_that_was_made_anew_under_its_name_is_deleted_and_added() {
    for compacted in [false, true] {
        let scene = scene();
        put_pods(&scene);
        let (mut watch, _) = watched(&scene, PODS_HERE);
        scene.server.delete(&PODS, "ns", "p1");
        let pod = object::pod("ns", "p1", "edge-00", &[]);
        let version = scene.server.put(&PODS, pod);
        restore(&scene, compacted);
        let old = watch.change();
        assert_eq!(
            (old.event.as_str(), old.name()),
            ("DELETED", "p1"),
            "compacted: {compacted}"
        );
        let new = watch.change();
        assert_eq!((new.event.as_str(), new.name()), ("ADDED", "p1"));
        assert_ne!(old.object["metadata"]["uid"], new.object["metadata"]["uid"]);
        assert_eq!(new.version(), version);
        assert!(
            old.version() < version,
            "{} before {version}",
            old.version()
        );
    }
}

#[test]
fn w099_versions_that_go_back_end_watches_with_410_and_lists_begin_anew() {
    let scene = scene();
    put_maps(&scene, 1);
    let backup = scene.server.backup();
    put_maps(&scene, 20);
    let (mut watch, version) = watched(&scene, MAPS);
    scene.server.restore(&backup);
    scene.restore();
    scene.connected();
    let ahead = with(MAPS, &format!("resourceVersion={version}"));
    assert_eq!(refusal(&scene, &ahead), (504, "Timeout".to_owned()));
    let list = scene.client().list(MAPS);
    assert_eq!(list.names(), ["c-0"]);
    assert!(list.version() < version);
    expires(&mut watch);
    let log = scene.log();
    assert!(
        log.iter().any(|line| line.contains("versions went back")),
        "{log:#?}"
    );
    let mut watch = scene.client().watching(&with(MAPS, BOTH));
    initial(&mut watch, &["c-0"], list.version());
}

#[test]
fn w100_all_that_comes_home_lists_once_a_stream_and_waits_as_it_is_told() {
    let scene = scene();
    put_maps(&scene, 20);
    let named = |n: usize| with(MAPS, &format!("fieldSelector=metadata.name%3Dc-{n}"));
    let mut watches: Vec<_> = (0..20)
        .map(|n| scene.client().watching(&with(&named(n), BOTH)))
        .collect();
    for (n, watch) in watches.iter_mut().enumerate() {
        initial(watch, &[&format!("c-{n}")], scene.server.version());
    }
    scene.cut_off(Mode::Refuse);
    put_maps(&scene, 20);
    scene.server.forget_requests();
    let later = Action::Answer {
        status: 429,
        headers: vec![("retry-after", "2".to_owned())],
        body: Vec::new(),
    };
    scene.server.fail("c-13", Only::Lists, 1, later);
    restore(&scene, true);
    for (n, watch) in watches.iter_mut().enumerate() {
        let change = watch.change();
        assert_eq!(
            (change.event.as_str(), change.name()),
            ("MODIFIED", &*format!("c-{n}"))
        );
    }
    let asked = scene.server.requests();
    for n in 0..20 {
        let lists: Vec<_> = asked
            .iter()
            .filter(|request| request.list && request.target == named(n))
            .collect();
        assert_eq!(lists.len(), if n == 13 { 2 } else { 1 }, "{}", named(n));
        let waited = lists[lists.len() - 1].at - lists[0].at;
        assert!(n != 13 || waited >= Duration::from_secs(2), "{waited:?}");
    }
}

#[test]
fn w102_a_resource_that_is_gone_ends_its_own_watch_with_410_and_no_other() {
    let scene = scene();
    put_maps(&scene, 1);
    scene.server.put(&CAMERAS, object::camera("ns", "a", 25));
    let cameras = CAMERAS.path("ns");
    let mut maps = watch_after(&scene, MAPS, scene.client().list(MAPS).version());
    let (mut watch, _) = watched(&scene, &cameras);
    let gone = Action::Answer {
        status: 404,
        headers: vec![("content-type", "text/plain; charset=utf-8".to_owned())],
        body: b"404 page not found\n".to_vec(),
    };
    scene.server.fail("cameras", Only::All, 10_000, gone);
    scene.restore();
    let version = put_map(&scene, "c-0");
    assert_eq!(maps.change().version(), version);
    expires(&mut watch);
    assert_eq!(scene.client().get(&cameras).expect("an answer").status, 404);
    scene.cut_off(Mode::Refuse);
    let unsynced = refusal(&scene, &cameras);
    assert_eq!(unsynced, (503, "ServiceUnavailable".to_owned()));
    assert_eq!(scene.client().list(MAPS).version(), version);
    hangs(&mut maps);
}

#[test]
fn w103_gzip_of_several_members_is_read_and_none_is_asked_for_on_a_watch() {
    let scene = scene();
    put_maps(&scene, 5);
    let theirs = scene.direct().list(MAPS);
    let mut members = Vec::new();
    for part in theirs.body.chunks(200) {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(part).expect("a Vec takes every byte");
        members.extend(encoder.finish().expect("a Vec takes every byte"));
    }
    let packed = Action::Answer {
        status: 200,
        headers: vec![
            ("content-type", "application/json".to_owned()),
            ("content-encoding", "gzip".to_owned()),
        ],
        body: members,
    };
    let gzip = scene.client().with("Accept-Encoding", "gzip");
    // A list of the agent's own, then one of a client's.
    scene.server.fail("configmaps", Only::Lists, 2, packed);
    let mut watch = gzip.watching(&with(MAPS, BOTH));
    initial(
        &mut watch,
        &["c-0", "c-1", "c-2", "c-3", "c-4"],
        theirs.version(),
    );
    assert_eq!(scene.client().list(MAPS).body, theirs.body);
    gzip.watching("/apis/coordination.k8s.io/v1/leases?watch=true&resourceVersion=1");
    let asked = scene.server.requests();
    let watches: Vec<_> = asked.iter().filter(|request| request.watch).collect();
    assert_eq!(watches.len(), 2);
    assert!(watches.iter().all(|watch| watch.accept_encoding.is_empty()));
}
