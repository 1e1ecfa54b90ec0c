//! Large lists forwarded: CPU, bytes and the growth of memory. The client takes no gzip, the line carries it.

use std::path::Path;

use crate::process;
use crate::process::flash;
use crate::raw::Raw;
use crate::support::apiserver::Options;
use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::object;
use crate::support::scene::Program;
use crate::support::scene::Scene;
use crate::table;

const PATH: &str = "/api/v1/namespaces/large/configmaps";
/// Bytes of a large object's value; with what is around it a hundredth of a MB.
const SIZE: usize = 9_800;

/// How many objects, and what they are like.
#[derive(Clone, Copy)]
struct Shape {
    objects: usize,
    large: bool,
}

fn scene(path: &Path, shape: Shape, filter: bool) -> Scene {
    let mut extra = vec!["--flash-cap", "512"];
    if filter {
        extra.extend(["--drop-name-prefix", "skip-"]);
    }
    let scene = Scene::with(Program::new(path), Options::default(), &extra);
    for n in 0..shape.objects {
        let name = format!("c-{n:06}");
        let map = if shape.large {
            object::big_configmap("large", &name, SIZE)
        } else {
            object::contest_configmap("large", &name, "large", n)
        };
        scene.server.put(&CONFIGMAPS, map);
    }
    // What opens the first connection is not part of what follows.
    scene.connected();
    scene.client().list("/api/v1/namespaces/none/configmaps");
    scene
}

fn list(scene: &Scene, what: &str, target: &str, shape: Shape) {
    let (pid, mut raw) = (scene.pid(), Raw::plain(scene.client().address()));
    process::forget_peak(pid);
    let (line, cpu, memory) = (scene.cable.counters(), process::cpu(pid), scene.memory());
    let before = flash(scene);
    let reply = raw.get(target, false);
    // The commit and the index's last lines may come after the last byte.
    std::thread::sleep(std::time::Duration::from_millis(700));
    let cpu = (process::cpu(pid) - cpu) as f64 / 1e6;
    let line = scene.cable.counters().since(&line);
    let grown = scene.memory().peak.saturating_sub(memory.resident);
    let flash = flash(scene) - before;
    let body = reply.body.len() as f64 / 1e6;
    assert_eq!(reply.items(), shape.objects, "{what}");
    // The budget of CPU is 4 ms for 0.65 MB.
    let missed = [
        table::over(cpu / body, 4.0 / 0.65, "≤ 6.2 ms a MB"),
        table::over(grown as f64, 1500.0, "+ ≤ 1.5 MB"),
    ];
    let missed: Vec<_> = missed
        .into_iter()
        .filter(|words| !words.is_empty())
        .collect();
    let objects = shape.objects;
    table::own(
        &format!(
            "a list of {body:.1} MB in {objects} objects, {what}: CPU; memory more at the peak; bytes of the line; bytes to flash"
        ),
        &format!("{cpu:.1} ms; {grown} KB; {}; {flash}", line.bytes()),
        &missed.join("; "),
    );
}

/// Prints the rows.
pub(crate) fn run(path: &Path) {
    for (objects, large) in [(100, true), (1000, true), (10_000, true), (20_000, false)] {
        let shape = Shape { objects, large };
        let plain = scene(path, shape, false);
        // Of exactly one version, which is not mirrored.
        let exact = |scene: &Scene| {
            let version = scene.server.version();
            format!("{PATH}?resourceVersion={version}&resourceVersionMatch=Exact")
        };
        list(&plain, "forwarded, not mirrored", &exact(&plain), shape);
        drop(plain);
        let filtering = scene(path, shape, true);
        list(
            &filtering,
            "through the name filter",
            &exact(&filtering),
            shape,
        );
        list(
            &filtering,
            "filtered and mirrored for the first time",
            PATH,
            shape,
        );
        list(&filtering, "filtered and unchanged", PATH, shape);
    }
}
