//! W044–W050, W053, W055: the line is cut while clients are attached.

use std::time::Duration;

use super::BOTH;
use super::MAPS;
use super::PODS_HERE;
use super::ask;
use super::bookmark_at;
use super::hangs;
use super::initial;
use super::put_map;
use super::put_maps;
use super::put_pods;
use super::refusal;
use super::scene;
use super::watch_after;
use super::with;
use crate::support::apiserver::Action;
use crate::support::apiserver::Only;
use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::cable::Mode;
use crate::support::cable::Quality;
use crate::support::client::Next;
use crate::support::object;
use serde_json::json;

#[test]
fn w044_watches_that_are_open_stay_open_when_the_line_is_cut() {
    let scene = scene();
    put_maps(&scene, 2);
    let version = scene.client().list(MAPS).version();
    let mut plain = watch_after(&scene, MAPS, version);
    let mut both = scene.client().watching(&with(MAPS, BOTH));
    initial(&mut both, &["c-0", "c-1"], version);
    for mode in [Mode::Refuse, Mode::Reset, Mode::Stall] {
        scene.cut_off(mode);
        hangs(&mut plain);
        hangs(&mut both);
        scene.restore();
        scene.connected();
        let version = put_map(&scene, "c-0");
        assert_eq!(plain.change().version(), version, "{mode:?}");
        assert_eq!(both.change().version(), version, "{mode:?}");
    }
}

#[test]
fn w045_a_line_that_falls_silent_is_noticed_without_a_request_and_watches_stay_open() {
    let scene = scene();
    put_maps(&scene, 1);
    let mut watch = watch_after(&scene, MAPS, scene.client().list(MAPS).version());
    scene.cut_off(Mode::Drop);
    hangs(&mut watch);
    assert!(ask(&scene, MAPS).header("warning").is_some());
}

#[test]
fn w046_a_list_that_is_cut_in_its_body_is_broken_off_or_whole() {
    for mode in [Mode::Refuse, Mode::Reset, Mode::Drop] {
        let scene = scene();
        for n in 0..50 {
            let map = object::big_configmap("ns", &format!("c-{n}"), 2_000);
            scene.server.put(&CONFIGMAPS, map);
        }
        scene.connected();
        // Five seconds of it; not so large that it would come compressed.
        scene.cable.set_quality(Quality {
            rate: 160_000,
            delay: Duration::ZERO,
        });
        let before = scene.cable.counters();
        let outcome = std::thread::scope(|scope| {
            let list = scope.spawn(|| scene.client().get(MAPS));
            scene.wait("the list is on its way", || {
                scene.cable.counters().since(&before).down > 30_000
            });
            scene.cut(mode);
            list.join().expect("no panic")
        });
        // Nothing is known here: what has begun can't be made whole.
        if let Ok(answer) = outcome {
            assert_eq!(
                (answer.status, answer.reason().as_str()),
                (503, "ServiceUnavailable")
            );
        }
        let after = refusal(&scene, MAPS);
        assert_eq!(after, (503, "ServiceUnavailable".to_owned()), "{mode:?}");
    }
}

#[test]
fn w047_half_an_event_is_neither_passed_on_nor_kept() {
    let scene = scene();
    put_maps(&scene, 1);
    let version = scene.client().list(MAPS).version();
    let cut = Action::CutAfter(120);
    scene.server.fail("configmaps", Only::Watches, 1, cut);
    let mut watch = watch_after(&scene, MAPS, version);
    scene.wait("it runs upstream", || scene.server.watches_open() == 1);
    let map = object::configmap("ns", "c-1", &[("k", "v")], "whole");
    let version = scene.server.put(&CONFIGMAPS, map);
    let change = watch.change();
    let target = format!("{MAPS}?resourceVersion={}&watch=true", version - 1);
    let line = scene.direct().watching(&target).event().line;
    assert!(line.len() > 120);
    assert_eq!(
        (change.line, change.object["metadata"]["name"].as_str()),
        (line, Some("c-1"))
    );
    hangs(&mut watch);
    assert_eq!(scene.server.watches(), 2, "the first was cut");
    scene.cut_off(Mode::Refuse);
    let list = scene.client().list(MAPS);
    assert_eq!(
        (list.version(), list.names()),
        (version, vec!["c-0".to_owned(), "c-1".to_owned()])
    );
}

#[test]
fn w048_a_new_watch_at_the_version_of_the_mirror_hangs_with_a_bookmark_there() {
    let scene = scene();
    put_maps(&scene, 1);
    let version = scene.client().list(MAPS).version();
    scene.cut_off(Mode::Refuse);
    let mut watch = watch_after(&scene, MAPS, version);
    bookmark_at(&mut watch, version);
    hangs(&mut watch);
}

#[test]
fn w049_a_watch_that_reaches_its_time_offline_ends_well_behind_a_bookmark() {
    let scene = scene();
    put_maps(&scene, 1);
    let version = scene.client().list(MAPS).version();
    scene.cut_off(Mode::Refuse);
    let target = with(MAPS, "timeoutSeconds=1");
    for _ in 0..2 {
        let mut watch = watch_after(&scene, &target, version);
        let (events, end) = watch.collect(Duration::from_secs(20));
        assert!(matches!(end, Next::Ended), "{end:?}");
        let last = events.last().expect("a bookmark");
        assert_eq!((last.event.as_str(), last.version()), ("BOOKMARK", version));
    }
}

#[test]
fn w050_a_hundred_watches_end_each_at_its_own_time_and_none_has_to_list_again() {
    let scene = scene();
    put_maps(&scene, 1);
    let version = scene.client().list(MAPS).version();
    scene.cut_off(Mode::Refuse);
    let open = |n: usize| {
        let target = with(MAPS, &format!("timeoutSeconds={}", 1 + 2 * (n % 3)));
        watch_after(&scene, &target, version)
    };
    let mut watches: Vec<_> = (0..100).map(open).collect();
    // Those that were asked to last longest are open when the first have ended.
    for length in 0..3 {
        for watch in watches.iter_mut().skip(length).step_by(3) {
            let (events, end) = watch.collect(Duration::from_secs(20));
            assert!(matches!(end, Next::Ended), "{end:?}");
            // With an event in it, client-go watches again from there, and does not list.
            let last = events.last().expect("a bookmark");
            assert_eq!((last.event.as_str(), last.version()), ("BOOKMARK", version));
        }
        if length == 0 {
            hangs(&mut watches[98]);
        }
    }
    for n in 0..100 {
        bookmark_at(&mut open(n), version);
    }
}

#[test]
fn w053_a_pods_status_offline_is_503_at_once_without_retry_after() {
    let scene = scene();
    put_pods(&scene);
    let online = scene.client().list(PODS_HERE);
    scene.cut_off(Mode::Drop);
    let target = "/api/v1/namespaces/ns/pods/p1/status";
    let patch = json!({"status": {"phase": "Failed"}});
    let answer = scene.client().write("PATCH", target, &patch);
    let answer = answer.expect("an answer");
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (503, "ServiceUnavailable")
    );
    assert_eq!(answer.header("retry-after"), None);
    assert!(
        answer.elapsed < Duration::from_secs(1),
        "nothing is waited for"
    );
    assert_eq!(scene.client().list(PODS_HERE).body, online.body);
}

#[test]
fn w055_a_deletion_offline_is_503_that_says_so_and_changes_nothing_here() {
    let scene = scene();
    put_pods(&scene);
    let online = scene.client().list(PODS_HERE);
    let mut watch = watch_after(&scene, PODS_HERE, online.version());
    scene.cut_off(Mode::Refuse);
    let target = "/api/v1/namespaces/ns/pods/p1";
    let answer = scene.client().request("DELETE", target, &[], b"");
    let answer = answer.expect("an answer");
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (503, "ServiceUnavailable")
    );
    let message = answer.json()["message"].to_string();
    assert!(
        message.contains("the line to the API server is down"),
        "{message}"
    );
    hangs(&mut watch);
    assert_eq!(scene.client().list(PODS_HERE).body, online.body);
}
