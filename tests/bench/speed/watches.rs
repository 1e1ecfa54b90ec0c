//! Events of a watch, one at a time: the time from the change at the server to the whole line at the client, directly over
//! TLS and through the agent in turns, and what an event costs the agent.

use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use crate::process;
use crate::raw::Lines;
use crate::raw::Raw;
use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::object;
use crate::support::scene::Program;
use crate::support::scene::Scene;
use crate::table;

/// Events of each.
const EVENTS: usize = 2000;
/// Events over which flash is counted once more.
const MANY: usize = 20_000;
/// Events in a row, before the other one's turn.
const TURN: usize = 100;
/// Objects that change by turns.
const OBJECTS: usize = 20;
/// Makes an event's line 300 bytes long.
const VALUE: usize = 42;

/// Changes one object after the other; microseconds until each was seen, and the bytes of the lines.
fn events(scene: &Scene, namespace: &str, watch: &mut Lines, count: usize) -> (Vec<f64>, usize) {
    let mut bytes = 0;
    let times = (0..count).map(|n| {
        let value = format!("{:0>VALUE$}", scene.server.version());
        let map = object::configmap(namespace, &format!("c-{:02}", n % OBJECTS), &[], &value);
        let began = Instant::now();
        scene.server.put(&CONFIGMAPS, map);
        bytes += watch.next();
        began.elapsed().as_secs_f64() * 1e6
    });
    (times.collect(), bytes)
}

/// Prints the rows.
pub(crate) fn run(path: &Path) {
    let scene = Scene::new(Program::new(path));
    for n in 0..OBJECTS {
        for namespace in ["near", "edge"] {
            let map = object::configmap(namespace, &format!("c-{n:02}"), &[], "first");
            scene.server.put(&CONFIGMAPS, map);
        }
    }
    scene.connected();
    let version = scene
        .client()
        .list("/api/v1/namespaces/edge/configmaps")
        .version();
    let target = |namespace: &str| {
        format!("/api/v1/namespaces/{namespace}/configmaps?watch=true&resourceVersion={version}")
    };
    let secure = Raw::secure(scene.server.address(), scene.server.pki());
    let mut direct = secure.watch(&target("near"));
    let mut through = Raw::plain(scene.client().address()).watch(&target("edge"));
    scene.wait("both watches run", || scene.server.watches_open() == 2);
    events(&scene, "near", &mut direct, TURN);
    events(&scene, "edge", &mut through, TURN);

    let pid = scene.pid();
    let (flash, disk) = (process::flash(&scene), process::written(pid));
    let (mut near, mut far, mut bytes, mut cpu) = (Vec::new(), Vec::new(), 0, 0);
    for _ in 0..EVENTS / TURN {
        near.extend(events(&scene, "near", &mut direct, TURN).0);
        let before = process::cpu(pid);
        let (times, length) = events(&scene, "edge", &mut through, TURN);
        cpu += process::cpu(pid) - before;
        far.extend(times);
        bytes += length;
    }
    // The last of it is synced.
    std::thread::sleep(Duration::from_secs(1));
    let count = EVENTS as f64;
    let (flash, disk) = (process::flash(&scene) - flash, process::written(pid) - disk);
    let (each, flash, disk) = (
        bytes as f64 / count,
        flash as f64 / count,
        disk as f64 / count,
    );
    let cpu = cpu as f64 / 1e6 / count;
    for (part, name, limit, words) in [
        (0.5, "median", 100.0, "≤ 100 µs more than direct"),
        (0.99, "p99", 1000.0, "≤ 1 ms more than direct's"),
    ] {
        let near = table::quantile(&mut near, part);
        let far = table::quantile(&mut far, part);
        table::row(
            &format!("{EVENTS} watch events of {each:.0} B, one at a time: {name} latency"),
            &format!("{near:.0} µs"),
            "",
            &format!("{far:.0} µs ({:+.0})", far - near),
            &table::over(far - near, limit, words),
        );
    }
    let missed = table::over(cpu, 0.15, "≤ 0.15 ms");
    table::own("... CPU for an event", &format!("{cpu:.3} ms"), &missed);
    let written = |count: usize, each: f64, flash: f64, disk: f64| {
        table::own(
            &format!(
                "... bytes written for an event over {count} of them, as the agent counts; sent to the disk, as the kernel counts"
            ),
            &format!("{flash:.0} B; {disk:.0} B"),
            &table::over(flash, each * 1.2 + 64.0, "≤ 1.2 × its bytes + 64"),
        );
    };
    written(EVENTS, each, flash, disk);
    // Long enough for the log to be compacted several times.
    drop(direct);
    let (flash, disk, mut bytes) = (process::flash(&scene), process::written(pid), 0);
    for _ in 0..MANY / EVENTS {
        bytes += events(&scene, "edge", &mut through, EVENTS).1;
        std::thread::sleep(Duration::from_secs(1));
    }
    let count = MANY as f64;
    let (flash, disk) = (process::flash(&scene) - flash, process::written(pid) - disk);
    written(
        MANY,
        bytes as f64 / count,
        flash as f64 / count,
        disk as f64 / count,
    );
}
