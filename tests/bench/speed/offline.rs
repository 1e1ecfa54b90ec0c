//! Cut off: a cold start to the first answered list of 1,000 objects, and lists from the mirror by one and by many.

use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use crate::process;
use crate::raw::Raw;
use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::cable::Mode;
use crate::support::object;
use crate::support::scene::Program;
use crate::support::scene::Scene;
use crate::table;

const PATH: &str = "/api/v1/namespaces/edge/configmaps";
const OBJECTS: usize = 1000;
/// Starts of each kind.
const STARTS: usize = 10;
/// Lists by one client.
const LISTS: usize = 200;
/// Clients at once, and the lists of each.
const CLIENTS: usize = 20;
const EACH: usize = 50;

fn starts(scene: &mut Scene, mode: Mode) -> Vec<f64> {
    scene.cut(mode);
    let mut times = Vec::new();
    for _ in 0..STARTS {
        scene.kill();
        let began = Instant::now();
        scene.start();
        let reply = Raw::plain(scene.client().address()).get(PATH, false);
        times.push(began.elapsed().as_secs_f64() * 1e3);
        assert_eq!(reply.items(), OBJECTS);
    }
    times
}

/// Prints the rows.
pub(crate) fn run(path: &Path) {
    let mut scene = Scene::new(Program::new(path));
    for n in 0..OBJECTS {
        let map = object::contest_configmap("edge", &format!("c-{n:04}"), "offline", n);
        scene.server.put(&CONFIGMAPS, map);
    }
    scene.connected();
    let mut raw = Raw::plain(scene.client().address());
    assert_eq!(raw.get(PATH, false).items(), OBJECTS);
    // What is not synced yet would be there after a kill too, but not after a power cut.
    std::thread::sleep(Duration::from_secs(1));
    for (mode, how) in [
        (Mode::Refuse, "server refuses"),
        (Mode::Drop, "server opens and is silent"),
        (Mode::Blackhole, "packets dropped"),
    ] {
        let mut times = starts(&mut scene, mode);
        let median = table::quantile(&mut times, 0.5);
        let worst = table::quantile(&mut times, 1.0);
        table::own(
            &format!(
                "cold start cut off ({how}) to the end of the first list of {OBJECTS}: median, worst of {STARTS}"
            ),
            &format!("{median:.0} ms, {worst:.0} ms"),
            &table::over(worst, 100.0, "≤ 100 ms"),
        );
    }
    let mut raw = Raw::plain(scene.client().address());
    let right = raw.get(PATH, false).text();
    let (cpu, began) = (process::cpu(scene.pid()), Instant::now());
    for _ in 0..LISTS {
        assert!(raw.get(PATH, false).text() == right, "the list changed");
    }
    let rate = LISTS as f64 / began.elapsed().as_secs_f64();
    let cpu = (process::cpu(scene.pid()) - cpu) as f64 / 1e6 / LISTS as f64;
    let size = right.len() / 1000;
    table::own(
        &format!(
            "{LISTS} offline lists of {OBJECTS} ({size} KB) by one client: CPU for a list; lists a second"
        ),
        &format!("{cpu:.2} ms; {rate:.0}"),
        &table::over(cpu, 3.0, "≤ 3 ms"),
    );
    let (address, before, began) = (
        scene.client().address(),
        process::cpu(scene.pid()),
        Instant::now(),
    );
    process::forget_peak(scene.pid());
    let memory = scene.memory();
    let wrong: usize = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let mut raw = Raw::plain(address);
                    (0..EACH)
                        .filter(|_| {
                            let reply = raw.get(PATH, false);
                            reply.status != 200 || reply.text() != right
                        })
                        .count()
                })
            })
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().expect("no panic"))
            .sum()
    });
    let all = CLIENTS * EACH;
    let rate = all as f64 / began.elapsed().as_secs_f64();
    let cpu = (process::cpu(scene.pid()) - before) as f64 / 1e6 / all as f64;
    let grown = scene.memory().peak.saturating_sub(memory.resident);
    table::own(
        &format!(
            "... by {CLIENTS} clients at once, {EACH} each: right; CPU for a list; lists a second; memory more at the peak"
        ),
        &format!(
            "{} of {all}; {cpu:.2} ms; {rate:.0}; {grown} KB",
            all - wrong
        ),
        &if wrong > 0 {
            "all right".to_owned()
        } else {
            table::over(cpu, 3.0, "≤ 3 ms")
        },
    );
}
