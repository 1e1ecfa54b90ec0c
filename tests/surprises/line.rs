//! P05, P06, P11, P12, P21–P23: what crosses the line, and how many there may be.

use std::time::Duration;

use crate::Scene;
use crate::agent;
use crate::cases::BOTH;
use crate::cases::MAPS;
use crate::cases::PODS_HERE;
use crate::cases::changes;
use crate::cases::hangs;
use crate::cases::initial;
use crate::cases::put_map;
use crate::cases::put_maps;
use crate::cases::put_pods;
use crate::cases::watch_after;
use crate::cases::with;
use crate::scene;
use crate::support::apiserver::Action;
use crate::support::apiserver::Only;
use crate::support::apiserver::Options;
use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::apiserver::kind::PODS;
use crate::support::cable::Mode;
use crate::support::client::Client;
use crate::support::object;
use serde_json::json;

use super::reboot;

/// A thousand ConfigMaps as the contest's.
fn thousand(scene: &Scene) {
    for n in 0..1_000 {
        let map = object::contest_configmap("ns", &format!("c-{n:04}"), "line", n);
        scene.server.put(&CONFIGMAPS, map);
    }
}

#[test]
fn p05_many_watches_are_one_connection_upstream_and_leave_no_descriptor() {
    let scene = scene();
    put_maps(&scene, 100);
    scene.connected();
    let before = scene.descriptors();
    let open = |n: usize| {
        let target = with(MAPS, &format!("fieldSelector=metadata.name%3Dc-{n}"));
        let mut watch = scene.client().watching(&with(&target, BOTH));
        initial(&mut watch, &[&format!("c-{n}")], scene.server.version());
        watch
    };
    for _ in 0..2 {
        let watches: Vec<_> = (0..300).map(|n| open(n % 100)).collect();
        assert_eq!(scene.server.watches_open(), 100, "one a collection");
        assert_eq!(scene.cable.counters().opened, 1);
        assert!(scene.descriptors() >= before + 300);
        drop(watches);
        scene.wait("descriptors are given back", || {
            scene.descriptors() <= before + 10
        });
    }
    assert_eq!(scene.cable.counters().opened, 1);
}

#[test]
fn p06_six_hundred_open_watches_are_no_reason_to_refuse_one_or_anything_else() {
    let scene = scene();
    put_maps(&scene, 3);
    let version = scene.client().list(MAPS).version();
    let mut watches: Vec<_> = (0..600)
        .map(|_| watch_after(&scene, MAPS, version))
        .collect();
    for round in 0..2 {
        let version = put_map(&scene, "c-1");
        let seen = ("MODIFIED".to_owned(), "c-1".to_owned(), version);
        for watch in &mut watches {
            assert_eq!(changes(watch, 1)[0], seen, "round {round}");
        }
        assert_eq!(scene.client().list(MAPS).version(), version);
        // The same while cut off.
        scene.cut_off(Mode::Refuse);
        watches.push(watch_after(&scene, MAPS, version));
        assert_eq!(scene.client().list(MAPS).version(), version);
        scene.restore();
        scene.connected();
    }
}

#[test]
fn p11_a_thousand_objects_of_which_none_changed_cost_a_watch_and_no_events_when_the_line_returns() {
    let scene = scene();
    thousand(&scene);
    let mut informer = scene.client().watching(&with(MAPS, BOTH));
    for _ in 0..1_000 {
        assert_eq!(informer.event().event, "ADDED");
    }
    assert_eq!(informer.event().event, "BOOKMARK");
    for mode in [Mode::Refuse, Mode::Drop] {
        scene.cut_off(mode);
        scene.server.skip_versions(1_000);
        let before = scene.cable.counters();
        scene.wait("the old watch is gone", || {
            mode == Mode::Drop || scene.server.watches_open() == 0
        });
        scene.server.forget_requests();
        scene.restore();
        scene.connected();
        scene.wait("it watches again", || scene.server.watches() == 1);
        hangs(&mut informer);
        assert_eq!(scene.server.requests().len(), 1, "{mode:?}");
        let crossed = scene.cable.counters().since(&before);
        // A handshake, and no list: that would be forty thousand at the least.
        assert!(crossed.bytes() < 20_000, "{mode:?}: {crossed:?}");
    }
    let version = scene
        .server
        .patch_labels(&CONFIGMAPS, "ns", "c-0007", &[("a", Some("b"))]);
    assert_eq!(Some(informer.change().version()), version);
}

#[test]
fn p12_informers_that_want_objects_and_changes_in_one_stream_sync_after_a_start_offline() {
    let mut scene = scene();
    put_pods(&scene);
    put_maps(&scene, 2);
    let own = "/api/v1/nodes?fieldSelector=metadata.name%3Dedge-00";
    let targets = [
        (own, &["edge-00"][..]),
        (PODS_HERE, &["p1", "p2"]),
        (MAPS, &["c-0", "c-1"]),
    ];
    let versions = targets.map(|(target, _)| scene.client().list(target).version());
    reboot(&mut scene);
    let mut informers: Vec<_> = targets
        .iter()
        .map(|(target, _)| scene.client().watching(&with(target, BOTH)))
        .collect();
    for ((informer, (_, names)), version) in informers.iter_mut().zip(targets).zip(versions) {
        initial(informer, names, version);
        hangs(informer);
    }
    // And they are the streams on which the line's return is told.
    let pod = object::pod("ns", "p4", "edge-00", &[]);
    let version = scene.server.put(&PODS, pod);
    scene.restore();
    let added = ("ADDED".to_owned(), "p4".to_owned(), version);
    assert_eq!(changes(&mut informers[1], 1), [added]);
}

#[test]
fn p21_protobuf_passes_byte_for_byte_for_every_client_with_a_filter_on() {
    let scene = scene();
    put_maps(&scene, 2);
    let mut odd = object::big_configmap("ns", "c-odd", 200_000);
    odd["@5000"] = json!("of a later Kubernetes");
    odd["metadata"]["labels"] = json!({"skip-": "skip-"});
    scene.server.put(&CONFIGMAPS, odd);
    let media = "application/vnd.kubernetes.protobuf";
    let theirs = scene.direct().with("Accept", media).list(MAPS).body;
    assert!(theirs.len() > 200_000);
    let kubelet = scene.client().with("Accept", media);
    let others = kubelet.clone().with("User-Agent", "curl/8.5.0");
    for client in [&kubelet, &others] {
        for target in [MAPS, &with(MAPS, "resourceVersion=0")] {
            let list = client.get(target).expect("an answer");
            assert_eq!(list.header("content-type"), Some(media));
            assert!(list.body == theirs, "{} bytes", list.body.len());
        }
    }
    // What can't be read might show what is dropped: it is broken off.
    let mut body = b"k8s\0\n\x0f\n\x02v1\x12\rConfigMapList\x12".to_vec();
    body.extend((0..200_000_u32).map(|n| (n * 31 % 251) as u8));
    let answer = Action::Answer {
        status: 200,
        headers: vec![("content-type", media.to_owned())],
        body,
    };
    scene.server.fail("configmaps", Only::Lists, 1, answer);
    assert!(kubelet.get(MAPS).is_err());
}

#[test]
fn p22_who_accepts_gzip_gets_it_as_the_server_packed_it_and_the_same_list_through_a_filter() {
    let packed = |client: &Client| client.clone().with("Accept-Encoding", "gzip").list(MAPS);
    for name in ["kubelet/v1.36.3", "curl/8.5.0"] {
        let open = Scene::with(agent(), Options::default(), &[]);
        let filtered = scene();
        for (scene, gzip) in [(open, true), (filtered, false)] {
            thousand(&scene);
            let client = scene.client().with("User-Agent", name);
            let list = packed(&client);
            assert_eq!(list.text(), scene.direct().list(MAPS).text(), "{name}");
            if gzip {
                let theirs = packed(&scene.direct());
                assert_eq!(list.header("content-encoding"), Some("gzip"), "{name}");
                assert_eq!(list.body, theirs.body, "{name}");
            }
            let plain = client.list(MAPS);
            assert_eq!(plain.header("content-encoding"), None, "{name}");
            assert_eq!(plain.text(), list.text(), "{name}");
        }
    }
}

#[test]
fn p23_a_list_crosses_the_line_packed_whether_or_not_its_client_asks_for_that() {
    let scene = scene();
    thousand(&scene);
    scene.connected();
    let crossed = |ask: &dyn Fn() -> usize| {
        let before = scene.cable.counters();
        let length = ask() as u64;
        let down = scene.cable.counters().since(&before).down;
        assert!(down * 5 < length, "{down} bytes crossed for {length}");
        assert!(down > 1_000, "{down} bytes are no list of a thousand");
    };
    for name in ["", "curl/8.5.0", "kubelet/v1.36.3"] {
        let client = scene.client().with("User-Agent", name);
        crossed(&|| client.list(MAPS).body.len());
    }
    // The agent's own list, for an informer, too.
    let everywhere = CONFIGMAPS.path("");
    crossed(&|| {
        let client = scene.client().patient(Duration::from_secs(60));
        let mut informer = client.watching(&with(&everywhere, BOTH));
        (0..1_000).map(|_| informer.event().line.len()).sum()
    });
    let asked = scene.server.requests();
    assert!(
        asked
            .iter()
            .filter(|request| request.list)
            .all(|request| request.accept_encoding.contains("gzip")),
        "{asked:?}"
    );
}
