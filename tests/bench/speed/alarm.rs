//! The slow line for minutes on end, as a node uses it: watches, lists, small writes, pauses. It is never cut, so whatever
//! the agent takes for a cut is a false alarm.

use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use crate::line::SLOW;
use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::client::Watch;
use crate::support::object;
use crate::support::scene::Program;
use crate::support::scene::Scene;
use crate::table;

const WATCHES: usize = 20;
const OBJECTS: usize = 9_800;
const LONG: Duration = Duration::from_secs(300);
/// Between two rounds: longer than the silence after which the agent asks whether the line lives.
const PAUSES: [u64; 4] = [0, 2, 25, 7];
/// What the agent's log says of a cut.
const CUT: &str = "can't be reached";

/// Prints the row.
pub(crate) fn run(path: &Path, time: Duration) {
    let scene = Scene::new(Program::new(path));
    for n in 0..OBJECTS {
        let map = object::contest_configmap("large", &format!("c-{n:04}"), "large", n);
        scene.server.put(&CONFIGMAPS, map);
    }
    let put = |n: usize, value: &str| {
        let map = object::configmap(&format!("ns-{n:02}"), "one", &[], value);
        scene.server.put(&CONFIGMAPS, map)
    };
    let client = scene.client().patient(LONG);
    let mut watches: Vec<Watch> = (0..WATCHES)
        .map(|n| {
            put(n, "first");
            let path = format!("/api/v1/namespaces/ns-{n:02}/configmaps");
            let version = client.list(&path).version();
            client.watching(&format!("{path}?watch=true&resourceVersion={version}"))
        })
        .collect();
    scene.wait("the watches run", || scene.server.watches_open() == WATCHES);
    scene.cable.set_quality(SLOW);
    let before = scene.cable.counters();
    let began = Instant::now();
    let (mut rounds, mut writes, mut slowest) = (0, 0, 0.0_f64);
    while began.elapsed() < time {
        std::thread::scope(|scope| {
            // One list, two at once, or none.
            for _ in 0..rounds % 3 {
                scope.spawn(|| {
                    let answer = client.list("/api/v1/namespaces/large/configmaps");
                    assert_eq!(answer.status, 200, "{}", answer.text());
                });
            }
            for n in 0..5 {
                let map = object::configmap("ns-00", "one", &[], &format!("{rounds} {n}"));
                let target = "/api/v1/namespaces/ns-00/configmaps/one";
                let asked = Instant::now();
                let answer = client.write("PUT", target, &map).expect("an answer");
                assert_eq!(answer.status, 200, "{}", answer.text());
                slowest = slowest.max(asked.elapsed().as_secs_f64());
                writes += 1;
                let which = 1 + (rounds + n) % (WATCHES - 1);
                let version = put(which, &format!("{rounds} {n}"));
                while watches[which].change().version() < version {}
            }
        });
        std::thread::sleep(Duration::from_secs(PAUSES[rounds % PAUSES.len()]));
        rounds += 1;
    }
    let line = scene.cable.counters().since(&before);
    let alarms = scene.log().iter().filter(|line| line.contains(CUT)).count();
    let reconnected = line.opened;
    table::own(
        &format!(
            "64 kbit/s, 600 ms, for {:.0} s: {WATCHES} watches, lists of 5 MB, {writes} small PUTs (slowest {slowest:.1} s) and as many events, pauses ({} KB down): false alarms; connections made anew",
            began.elapsed().as_secs_f64(),
            line.down / 1000,
        ),
        &format!("{alarms}; {reconnected}"),
        &table::over((alarms as u64 + reconnected) as f64, 0.0, "none"),
    );
}
