//! P07, P08, P10, P16: when the line counts as cut, and what then happens to those who wait.

use std::time::Duration;

use crate::Scene;
use crate::agent;
use crate::cases::BOTH;
use crate::cases::MAPS;
use crate::cases::hangs;
use crate::cases::initial;
use crate::cases::put_map;
use crate::cases::put_maps;
use crate::cases::watch_after;
use crate::cases::with;
use crate::scene;
use crate::support::apiserver::Action;
use crate::support::apiserver::Only;
use crate::support::apiserver::Options;
use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::apiserver::kind::LEASES;
use crate::support::cable::Mode;
use serde_json::Value;
use serde_json::json;

/// Where the kubelet says that it is alive.
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/edge-00";

#[test]
fn p07_requests_that_wait_in_a_silent_cut_are_moved_over_when_it_is_noticed() {
    for mode in [Mode::Drop, Mode::Blackhole] {
        let scene = scene();
        put_maps(&scene, 10);
        let online = scene.client().list(MAPS);
        // One that waits already when the line goes; the others come at every moment until it is noticed, and after.
        scene.server.fail("configmaps", Only::All, 1, Action::Hold);
        scene.server.forget_requests();
        std::thread::scope(|scope| {
            let whole = || {
                let list = scene.client().list(MAPS);
                assert_eq!(list.body, online.body, "{mode:?}");
                assert!(list.header("warning").is_some(), "{mode:?}");
            };
            let held = scope.spawn(whole);
            scene.wait("one waits", || !scene.server.requests().is_empty());
            scene.cut(mode);
            let noticed = scope.spawn(|| scene.cut_off(mode));
            while !noticed.is_finished() {
                scope.spawn(whole);
                std::thread::sleep(Duration::from_millis(250));
            }
            held.join().expect("it was moved over");
            whole();
        });
    }
}

#[test]
fn p08_those_who_are_let_go_together_are_all_answered() {
    let scene = scene();
    put_maps(&scene, 10);
    let names: Vec<_> = (0..10).map(|n| format!("c-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let online = scene.client().list(MAPS);
    let one = scene.client().list(&format!("{MAPS}/c-3"));
    for mode in [Mode::Drop, Mode::Reset, Mode::Refuse] {
        // All of them wait: the server says nothing until the line is cut.
        scene
            .server
            .fail("configmaps", Only::All, 1_000, Action::Hold);
        scene.server.forget_requests();
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| assert_eq!(scene.client().list(MAPS).body, online.body));
                scope.spawn(|| {
                    let got = scene.client().list(&format!("{MAPS}/c-3"));
                    assert_eq!(got.body, one.body, "{mode:?}");
                });
                scope.spawn(|| {
                    let mut watch = scene.client().watching(&with(MAPS, BOTH));
                    initial(&mut watch, &names, online.version());
                });
            }
            scene.wait("they wait", || scene.server.requests().len() >= 40);
            scene.cut(mode);
        });
        scene.server.heal();
        scene.restore();
        scene.connected();
    }
}

/// Right after the cut, and at each try that follows: a client that was told a version watches from there, lists, and is
/// never behind it.
#[track_caller]
fn stands_at(scene: &Scene, told: u64, names: &[&str]) {
    for _ in 0..5 {
        let mut watch = watch_after(scene, MAPS, told);
        let list = scene.client().list(MAPS);
        assert!(list.version() >= told, "{} after {told}", list.version());
        let again = with(MAPS, &format!("resourceVersion={told}"));
        assert!(scene.client().list(&again).version() >= told);
        hangs(&mut watch);
    }
    let mut both = scene.client().watching(&with(MAPS, BOTH));
    initial(&mut both, names, told);
}

#[test]
fn p10_a_watch_right_after_a_cut_is_taken_and_no_version_goes_back() {
    for mode in [Mode::Refuse, Mode::Reset] {
        let scene = scene();
        put_maps(&scene, 4);
        // The list stands at a version that none of its objects has: much has happened elsewhere.
        scene.server.skip_versions(200);
        let told = scene.client().list(MAPS).version();
        assert!(told >= 300, "{told}");
        let mut open = watch_after(&scene, MAPS, told);
        scene.cut(mode);
        stands_at(&scene, told, &["c-0", "c-1", "c-2", "c-3"]);
        hangs(&mut open);
        scene.restore();
        scene.connected();
        // And so it does behind a deletion.
        let told = scene.server.delete(&CONFIGMAPS, "ns", "c-3");
        assert_eq!(Some(open.change().version()), told);
        scene.cut(mode);
        stands_at(&scene, told.expect("it was there"), &["c-0", "c-1", "c-2"]);
        hangs(&mut open);
    }
}

/// Two lists of the same objects, the second at a later version; the line is cut behind them.
fn told_later(watched: bool) -> (Scene, u64) {
    let scene = scene();
    put_maps(&scene, 3);
    let first = scene.client().list(MAPS).version();
    let _watch = watched.then(|| {
        let mut watch = watch_after(&scene, MAPS, first);
        let version = put_map(&scene, "c-1");
        assert_eq!(watch.change().version(), version);
        watch
    });
    scene.server.skip_versions(200);
    let told = scene.client().list(MAPS).version();
    assert!(told >= first + 200, "{told} after {first}");
    scene.cut(Mode::Refuse);
    (scene, told)
}

#[test]
fn what_was_listed_again_unchanged_is_answered_at_the_version_that_was_told() {
    let (scene, told) = told_later(false);
    stands_at(&scene, told, &["c-0", "c-1", "c-2"]);
}

#[test]
fn what_was_listed_beside_a_watch_is_answered_at_the_version_that_was_told() {
    let (scene, told) = told_later(true);
    stands_at(&scene, told, &["c-0", "c-1", "c-2"]);
}

#[test]
fn what_was_listed_before_its_event_came_is_known_when_cut_off() {
    let options = Options {
        watch_delay: Duration::from_secs(600),
        ..Options::default()
    };
    let scene = Scene::with(agent(), options, &[]);
    put_maps(&scene, 2);
    let _watch = watch_after(&scene, MAPS, scene.client().list(MAPS).version());
    scene.wait("it runs upstream", || scene.server.watches_open() == 1);
    put_map(&scene, "c-2");
    let online = scene.client().list(MAPS);
    assert_eq!(online.names(), ["c-0", "c-1", "c-2"]);
    scene.cut(Mode::Refuse);
    assert_eq!(scene.client().list(MAPS).names(), online.names());
}

/// The kubelet renews its lease; the status of the answer, if there is one.
fn renew(scene: &Scene, patience: Duration) -> Option<u16> {
    let lease: Value = scene.direct().list(LEASE).json();
    let client = scene.client().patient(patience);
    let answer = client.write("PUT", LEASE, &lease).ok()?;
    Some(answer.status)
}

/// Another client's list must be the cloud's, as it is now.
#[track_caller]
fn the_cloud_answers(scene: &Scene) {
    let version = put_map(scene, "c-0");
    let list = scene.client().list(MAPS);
    assert_eq!((list.version(), list.header("warning")), (version, None));
}

#[test]
fn p16_a_kubelet_that_stops_renewing_its_lease_takes_the_line_from_nobody() {
    let scene = scene();
    let lease = json!({"metadata": {"name": "edge-00", "namespace": "kube-node-lease"}, "spec": {"holderIdentity": "edge-00", "leaseDurationSeconds": 40}});
    scene.server.put(&LEASES, lease);
    the_cloud_answers(&scene);
    assert_eq!(renew(&scene, Duration::from_secs(20)), Some(200));
    // A line that was cut and has come back is there again, without a lease.
    scene.cut_off(Mode::Refuse);
    scene.restore();
    scene.connected();
    the_cloud_answers(&scene);
    assert_eq!(renew(&scene, Duration::from_secs(20)), Some(200));
    // Nor is a lease that the server refuses, or does not answer, a line that is down.
    let refused = Action::Status(500);
    scene.server.fail("leases", Only::All, 3, refused);
    for _ in 0..3 {
        assert_eq!(renew(&scene, Duration::from_secs(20)), Some(500));
        the_cloud_answers(&scene);
    }
    scene.server.fail("leases", Only::All, 1, Action::Hold);
    assert_eq!(renew(&scene, Duration::from_secs(6)), None);
    the_cloud_answers(&scene);
}
