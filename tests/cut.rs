//! The line is cut while clients ask: right items, within 5 s, no 502, however it is cut and however many ask.

use std::time::Duration;
use std::time::Instant;

use serde_json::json;

use crate::scene;
use crate::support::apiserver::Action;
use crate::support::apiserver::Only;
use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::apiserver::kind::PODS;
use crate::support::cable::Mode;
use crate::support::cable::Quality;
use crate::support::client::Next;
use crate::support::object;

const PATH: &str = "/api/v1/namespaces/edge/configmaps";

/// The bound that is promised for the first request after a cut.
const BOUND: Duration = Duration::from_secs(5);

#[test]
fn the_first_list_after_each_kind_of_cut_is_right_twenty_times_of_twenty_for_five_clients_at_once()
{
    let scene = scene();
    for n in 0..50 {
        scene.server.put(
            &CONFIGMAPS,
            object::configmap("edge", &format!("c-{n:02}"), &[], "x"),
        );
    }
    let online = scene.client().list(PATH);
    let modes = [
        Mode::Refuse,
        Mode::Reset,
        Mode::Drop,
        Mode::Refuse,
        Mode::Reset,
    ];
    for round in 0..20 {
        // A silent cut costs its bound each time: four of twenty.
        let mode = modes[round % modes.len()];
        scene.cut(mode);
        std::thread::scope(|scope| {
            for _ in 0..5 {
                scope.spawn(|| {
                    let list = scene.client().list(PATH);
                    assert_eq!(list.text(), online.text(), "round {round}, {mode:?}");
                    assert!(
                        list.elapsed < BOUND,
                        "round {round}, {mode:?}: {:?}",
                        list.elapsed
                    );
                });
            }
        });
        scene.restore();
        scene.wait("the line is back", || {
            scene.client().list(PATH).header("warning").is_none()
        });
    }
}

#[test]
fn a_list_and_a_watch_that_wait_when_the_line_goes_are_moved_over() {
    let scene = scene();
    for n in 0..10 {
        scene.server.put(
            &CONFIGMAPS,
            object::configmap("edge", &format!("c-{n}"), &[], "x"),
        );
    }
    let online = scene.client().list(PATH);
    for mode in [Mode::Refuse, Mode::Reset, Mode::Drop] {
        scene.server.fail("configmaps", Only::All, 8, Action::Hold);
        std::thread::scope(|scope| {
            let began = Instant::now();
            let list = scope.spawn(|| scene.client().list(PATH));
            let both = scope.spawn(|| {
                let watch = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
                let mut watch = scene.client().watching(&format!("{PATH}?{watch}"));
                (0..11).map(|_| watch.event()).last().expect("a bookmark").version()
            });
            std::thread::sleep(Duration::from_millis(300));
            scene.cut(mode);
            assert_eq!(
                list.join().expect("a list").text(),
                online.text(),
                "{mode:?}"
            );
            assert_eq!(both.join().expect("a watch"), online.version(), "{mode:?}");
            assert!(
                began.elapsed() < BOUND + Duration::from_millis(300),
                "{mode:?}: {:?}",
                began.elapsed()
            );
        });
        scene.server.heal();
        scene.restore();
        scene.wait("the line is back", || {
            scene.client().list(PATH).header("warning").is_none()
        });
    }
}

#[test]
fn who_waits_less_than_a_silent_line_is_given_is_answered_before_it_goes() {
    let scene = scene();
    scene
        .server
        .put(&CONFIGMAPS, object::configmap("edge", "c", &[], "x"));
    let one = format!("{PATH}/c?timeout=4s");
    let node = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    let lease = json!({
        "kind": "Lease", "apiVersion": "coordination.k8s.io/v1",
        "metadata": {"name": "edge-00", "namespace": "kube-node-lease"},
        "spec": {"holderIdentity": "edge-00", "leaseDurationSeconds": 16},
    });
    let made = scene.client().write("POST", node, &lease);
    assert_eq!(made.expect("an answer").status, 201);
    let online = scene.client().list(&one);
    // A kubelet whose lease is short: it hangs up after 4 s.
    let client = scene.client().patient(Duration::from_secs(4));
    let target = format!("{node}/edge-00?timeout=4s");

    // The server takes its time, and the line lives: nothing but the server's own answer will do.
    scene.server.fail(
        "configmaps",
        Only::All,
        1,
        Action::Late(Duration::from_millis(3700)),
    );
    let late = client.list(&one);
    assert_eq!((late.text(), late.header("warning")), (online.text(), None));

    scene.cut(Mode::Drop);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let told = client.list(&one);
            assert_eq!(told.text(), online.text());
            assert!(told.header("warning").is_some(), "what is known");
        });
        scope.spawn(|| assert_eq!(client.list(&target).json()["spec"], lease["spec"]));
        scope.spawn(|| {
            let renewed = client.write("PUT", &target, &lease).expect("an answer");
            assert_eq!((renewed.status, renewed.json()), (200, lease.clone()));
        });
    });
}

#[test]
fn watches_live_through_a_cut_and_hear_what_they_missed() {
    let scene = scene();
    scene
        .server
        .put(&PODS, object::pod("edge", "p", "edge-00", &[]));
    let version = scene.client().list("/api/v1/pods").version();
    let mut watch = scene.client().watching(&format!(
        "/api/v1/pods?watch=true&resourceVersion={version}"
    ));
    for mode in [Mode::Drop, Mode::Refuse, Mode::Reset] {
        scene.cut(mode);
        scene.client().list("/api/v1/pods");
        assert!(
            matches!(watch.next(Duration::from_millis(100)), Next::Silent),
            "{mode:?}: open, and quiet"
        );
        let first = scene
            .server
            .patch_labels(&PODS, "edge", "p", &[("a", Some("1"))])
            .expect("it is there");
        let last = scene
            .server
            .patch_labels(&PODS, "edge", "p", &[("a", None)])
            .expect("it is there");
        scene.restore();
        let mut seen = watch.change().version();
        if seen == first {
            seen = watch.change().version();
        }
        assert_eq!(seen, last, "{mode:?}");
    }
}

#[test]
fn a_slow_line_that_works_is_not_called_dead() {
    let scene = scene();
    for n in 0..60 {
        scene.server.put(
            &CONFIGMAPS,
            object::big_configmap("edge", &format!("c-{n:02}"), 2_000),
        );
    }
    scene
        .server
        .put(&PODS, object::pod("edge", "p", "edge-00", &[]));
    scene.connected();
    // 64 kbit/s and 3 s a round trip; the list is 15 s of it, and it is not compressible for the small server below its
    // threshold.
    scene.cable.set_quality(Quality {
        rate: 64_000,
        delay: Duration::from_millis(1500),
    });
    let client = scene.client().patient(Duration::from_secs(120));
    std::thread::scope(|scope| {
        let list = scope.spawn(|| client.list(PATH));
        std::thread::sleep(Duration::from_secs(2));
        let pods = client.list("/api/v1/pods");
        assert!(pods.header("warning").is_none(), "the cloud answers");
        let list = list.join().expect("a list");
        assert_eq!(list.names().len(), 60);
        assert!(list.header("warning").is_none(), "the cloud answered");
    });
    let log = scene.log();
    assert!(
        !log.iter().any(|line| line.contains("can't be reached")),
        "{log:#?}"
    );
    assert_eq!(scene.cable.counters().opened, 1, "on the one connection");
}
