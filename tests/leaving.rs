//! Clients that leave: nothing of them stays.

use crate::support::apiserver::Options;
use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::object;

const PATH: &str = "/api/v1/namespaces/edge/configmaps";

fn scene(linger: &str) -> crate::Scene {
    let scene = crate::Scene::with(crate::agent(), Options::default(), &["--linger", linger]);
    for n in 0..150 {
        scene.server.put(
            &CONFIGMAPS,
            object::configmap("edge", &format!("c-{n:03}"), &[], "x"),
        );
    }
    scene
}

fn named(n: usize) -> String {
    format!("{PATH}?fieldSelector=metadata.name%3Dc-{n:03}&watch=true&allowWatchBookmarks=true")
}

#[test]
fn a_thousand_clients_that_vanish_leave_no_descriptor_and_their_memory_is_used_again() {
    let scene = scene("900");
    let version = scene.client().list(PATH).version();
    let target = format!("{PATH}?watch=true&resourceVersion={version}");
    scene.client().watching(&target);
    scene.wait("the first has left", || scene.descriptors() < 30);
    let idle = scene.descriptors();
    let thousand = || {
        let watches: Vec<_> = (0..1000)
            .map(|_| scene.client().watching(&target))
            .collect();
        let memory = (scene.heap(), scene.memory().anonymous);
        drop(watches);
        scene.wait("all have left", || scene.descriptors() <= idle);
        memory
    };
    // All that the first thousand took is used again. Not all of it was written to: what hyper reserves for a client is
    // real memory only as far as it was used, and lies elsewhere in the next round, so that one shows from the fourth on.
    let first = thousand();
    let _ = (thousand(), thousand());
    let (before, after) = (thousand(), thousand());
    assert!(after.0 <= first.0 + 1024, "heap: {first:?} then {after:?}");
    assert!(after.1 <= before.1 + 1024, "{before:?} then {after:?}");
    assert_eq!(scene.server.watches_open(), 1, "one upstream, for all");
}

#[test]
fn an_upstream_watch_ends_when_nobody_has_read_for_the_stated_while() {
    let scene = scene("2");
    let watches: Vec<_> = (0..5)
        .map(|n| {
            let mut watch = scene.client().watching(&named(n));
            watch.event();
            watch
        })
        .collect();
    scene.wait("five are open", || scene.server.watches_open() == 5);
    drop(watches);
    // A reader that is back within the while finds its watch as it was.
    let mut back = scene.client().watching(&named(0));
    back.event();
    scene.server.forget_requests();
    scene.wait("the others have ended", || scene.server.watches_open() == 1);
    assert_eq!(scene.server.watches(), 0, "none was opened anew");
    scene
        .server
        .patch_labels(&CONFIGMAPS, "edge", "c-000", &[("a", Some("b"))]);
    assert_eq!(back.change().name(), "c-000");
}

#[test]
fn a_hundred_and_fifty_idle_logs_hold_no_descriptor() {
    let scene = scene("900");
    scene.connected();
    let before = scene.descriptors();
    let watches: Vec<_> = (0..150)
        .map(|n| {
            let mut watch = scene.client().watching(&named(n));
            watch.event();
            watch
        })
        .collect();
    // Each local watch has its own; files are closed when they were not used for a while.
    scene.wait("the files are closed", || {
        scene.descriptors() <= before + watches.len() + 2
    });
}
