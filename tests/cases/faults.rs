//! W056–W058: a line that flaps, a box on the way, an identity that is refused.

use std::time::Duration;

use super::BOTH;
use super::MAPS;
use super::ask;
use super::changes;
use super::hangs;
use super::initial;
use super::put_map;
use super::put_maps;
use super::refusal;
use super::watch_after;
use super::with;
use crate::scene;
use crate::support::apiserver::Action;
use crate::support::apiserver::Only;
use crate::support::cable::Mode;

#[test]
fn w056_a_flapping_line_is_tried_at_the_backoffs_pace_and_no_watch_closes() {
    let scene = scene();
    put_maps(&scene, 1);
    let version = scene.client().list(MAPS).version();
    let mut watches: Vec<_> = (0..20)
        .map(|_| watch_after(&scene, MAPS, version))
        .collect();
    scene.connected();
    let before = scene.cable.counters();
    for _ in 0..8 {
        scene.cut(Mode::Reset);
        std::thread::sleep(Duration::from_millis(500));
        scene.restore();
        std::thread::sleep(Duration::from_millis(500));
    }
    let opened = scene.cable.counters().since(&before).opened;
    // Each time one at once, and one for each step of the backoff, which begins at half a second with jitter.
    assert!((1..=8 * 4).contains(&opened), "{opened} connections");
    scene.connected();
    let version = put_map(&scene, "c-1");
    for watch in &mut watches {
        let added = ("ADDED".to_owned(), "c-1".to_owned(), version);
        assert_eq!(changes(watch, 1), [added]);
    }
}

#[test]
fn w057_a_load_balancers_error_page_is_a_line_that_is_down_and_never_reaches_a_client() {
    let scene = scene();
    put_maps(&scene, 2);
    let online = scene.client().list(MAPS);
    let page = |status: u16, times: u32| {
        let html = Action::Answer {
            status,
            headers: vec![("content-type", "text/html".to_owned())],
            body: b"<html>no healthy upstream</html>".to_vec(),
        };
        scene.server.heal();
        scene.server.fail("", Only::All, times, html);
    };
    for status in [502, 503] {
        page(status, 1);
        assert_eq!(scene.client().list(MAPS).body, online.body, "{status}");
        page(status, 1);
        let secrets = refusal(&scene, "/api/v1/secrets");
        assert_eq!(secrets, (503, "ServiceUnavailable".to_owned()));
        page(status, 1000);
        let target = with(MAPS, "allowWatchBookmarks=true&watch=true");
        let mut watch = scene.client().watching(&target);
        initial(&mut watch, &["c-0", "c-1"], online.version());
        hangs(&mut watch);
        let unknown = ask(&scene, &with("/api/v1/secrets", BOTH));
        assert!(!unknown.text().contains("<html>"), "{status}: a page");
        assert_eq!(
            (unknown.status, unknown.reason().as_str()),
            (503, "ServiceUnavailable")
        );
        scene.server.heal();
    }
}

#[test]
fn w058_a_401_or_403_is_passed_and_never_taken_for_a_deletion() {
    let scene = scene();
    put_maps(&scene, 2);
    let online = scene.client().list(MAPS);
    let mut watch = watch_after(&scene, MAPS, online.version());
    scene.wait("it runs upstream", || scene.server.watches_open() == 1);
    for (status, reason) in [(401, "Unauthorized"), (403, "Forbidden")] {
        scene
            .server
            .fail("", Only::All, 1000, Action::Status(status));
        scene.server.end_watches();
        assert_eq!(refusal(&scene, MAPS), (status, reason.to_owned()));
        scene.wait("the watch is refused", || scene.server.watches_open() == 0);
        hangs(&mut watch);
        scene.cut_off(Mode::Refuse);
        assert_eq!(scene.client().list(MAPS).body, online.body);
        scene.restore();
        scene.connected();
        scene.server.heal();
        scene.wait("it runs again", || scene.server.watches_open() == 1);
    }
    let version = put_map(&scene, "c-2");
    assert_eq!(watch.change().version(), version);
}
