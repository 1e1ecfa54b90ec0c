//! A slow line, 64 kbit/s and 600 ms a round trip: how long a node takes to come back on it, and what a small write and an
//! event wait beside a large list.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::cable::Mode;
use crate::support::cable::Quality;
use crate::support::client::Watch;
use crate::support::object;
use crate::support::scene::Program;
use crate::support::scene::Scene;
use crate::table;

pub(crate) const SLOW: Quality = Quality {
    rate: 64_000,
    delay: Duration::from_millis(300),
};
const WATCHES: usize = 60;
/// Objects of the large list: 5 MB, a fifteenth or less of that on the line.
const OBJECTS: usize = 9_800;
/// Writes and events measured.
const TIMES: usize = 5;
const LONG: Duration = Duration::from_secs(300);

/// Prints the rows.
pub(crate) fn run(path: &Path) {
    back(path);
    beside(path);
}

/// A node that comes back, with a watch for each of 60 objects, as a kubelet has them.
fn back(path: &Path) {
    let scene = Scene::new(Program::new(path));
    let put = |n: usize, value: &str| {
        let map = object::configmap("named", &format!("c-{n:02}"), &[], value);
        scene.server.put(&CONFIGMAPS, map)
    };
    for n in 0..WATCHES {
        put(n, "x");
    }
    let client = scene.client().patient(LONG);
    let mut watches: Vec<Watch> = (0..WATCHES)
        .map(|n| {
            let mut watch = client.watching(&format!(
                "/api/v1/namespaces/named/configmaps?allowWatchBookmarks=true&fieldSelector=metadata.name%3Dc-{n:02}\
                 &resourceVersionMatch=NotOlderThan&sendInitialEvents=true&watch=true"
            ));
            (0..2).for_each(|_| drop(watch.event()));
            watch
        })
        .collect();
    scene.wait("every watch runs", || {
        scene.server.watches_open() == WATCHES
    });
    scene.cable.set_quality(SLOW);
    scene.cut_off(Mode::Reset);
    scene.wait("the server notices", || scene.server.watches_open() == 0);
    scene.server.forget_requests();
    let before = scene.cable.counters();
    let began = Instant::now();
    scene.restore();
    scene.within(LONG, "every watch runs again", || {
        scene.server.watches_open() == WATCHES
    });
    let asked = began.elapsed().as_secs_f64();
    // The heads of the last answers are still on their way.
    std::thread::sleep(Duration::from_secs(2));
    let line = scene.cable.counters().since(&before);
    let lists = scene.server.lists();
    table::own(
        &format!(
            "64 kbit/s, 600 ms: {WATCHES} watches of one object resumed after a reset: time from the line's return; bytes up and down; lists"
        ),
        &format!("{asked:.1} s; {} + {}; {lists}", line.up, line.down),
        &table::over(line.bytes() as f64, 20_000.0, "≤ 20 KB"),
    );
    let began = Instant::now();
    let version = put(WATCHES - 1, "y");
    assert_eq!(watches[WATCHES - 1].change().version(), version);
    let late = began.elapsed().as_secs_f64();
    table::own("... an event on one of them", &format!("{late:.2} s"), "");
    for (n, watch) in watches.iter_mut().enumerate() {
        let version = put(n, "z");
        assert_eq!(watch.change().version(), version, "every watch goes on");
    }
}

/// Seconds of each of `TIMES` small writes and events; fewer if `running` ends before.
fn exchanges(scene: &Scene, watch: &mut Watch, running: &AtomicBool) -> [Vec<f64>; 2] {
    let client = scene.client().patient(LONG);
    let mut times = [Vec::new(), Vec::new()];
    for n in 0..TIMES {
        let map = object::configmap("small", "put", &[], &n.to_string());
        let target = "/api/v1/namespaces/small/configmaps/put";
        let began = Instant::now();
        let answer = client.write("PUT", target, &map).expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
        if running.load(Ordering::Relaxed) {
            times[0].push(began.elapsed().as_secs_f64());
        }
        let map = object::configmap("other", "watched", &[], &n.to_string());
        let began = Instant::now();
        let version = scene.server.put(&CONFIGMAPS, map);
        while watch.change().version() < version {}
        if running.load(Ordering::Relaxed) {
            times[1].push(began.elapsed().as_secs_f64());
        }
    }
    times
}

/// Small things beside a large one.
fn beside(path: &Path) {
    let scene = Scene::new(Program::new(path));
    for n in 0..OBJECTS {
        let map = object::contest_configmap("large", &format!("c-{n:04}"), "large", n);
        scene.server.put(&CONFIGMAPS, map);
    }
    for (namespace, name) in [("small", "put"), ("other", "watched")] {
        let map = object::configmap(namespace, name, &[], "first");
        scene.server.put(&CONFIGMAPS, map);
    }
    let client = scene.client().patient(LONG);
    let other = "/api/v1/namespaces/other/configmaps";
    let version = client.list(other).version();
    let mut watch = client.watching(&format!("{other}?watch=true&resourceVersion={version}"));
    scene.wait("the watch runs", || scene.server.watches_open() == 1);
    scene.cable.set_quality(SLOW);
    let idle = exchanges(&scene, &mut watch, &AtomicBool::new(true));
    let running = AtomicBool::new(true);
    let before = scene.cable.counters();
    let (busy, took, size) = std::thread::scope(|scope| {
        let list = scope.spawn(|| {
            let answer = client.list("/api/v1/namespaces/large/configmaps");
            running.store(false, Ordering::Relaxed);
            answer
        });
        scene.within(LONG, "the list is on its way", || {
            scene.cable.counters().since(&before).down > 40_000
        });
        let busy = exchanges(&scene, &mut watch, &running);
        let list = list.join().expect("no panic");
        (
            busy,
            list.elapsed.as_secs_f64(),
            list.body.len() as f64 / 1e6,
        )
    });
    let carried = scene.cable.counters().since(&before).down / 1000;
    for (n, what) in ["a small PUT", "a watch event"].into_iter().enumerate() {
        let say = |times: &[f64]| {
            let mut times = times.to_vec();
            if times.is_empty() {
                return "none before the list's end".to_owned();
            }
            let count = times.len();
            let worst = table::quantile(&mut times, 1.0);
            format!(
                "{:.2} s, {worst:.2} s of {count}",
                table::quantile(&mut times, 0.5)
            )
        };
        table::own(
            &format!(
                "64 kbit/s, 600 ms: {what}, median and worst: alone; beside a list of {size:.1} MB ({carried} KB in {took:.0} s)"
            ),
            &format!("{}; {}", say(&idle[n]), say(&busy[n])),
            "",
        );
    }
}
