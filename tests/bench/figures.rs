//! The figures of README: `tests/bench/run`.
//!
//! Size of the stripped binary, and the agent's memory idle, with 1,000 objects mirrored and 50 local watches on 20 upstream
//! ones, and while a large list streams through. The agent is the release binary named on the command line.
#![allow(clippy::print_stdout)] // Printing is what it is for.

#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use support::apiserver::kind::CONFIGMAPS;
use support::object;
use support::scene::Program;
use support::scene::Scene;

fn main() {
    let path = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "target/release/toono".to_owned());
    let size = std::fs::metadata(&path)
        .unwrap_or_else(|error| panic!("{path}: {error}"))
        .len();
    println!("| what | figure |\n|---|---|");
    println!("| stripped binary | {size} bytes |");
    let row = |what: &str, scene: &Scene| {
        let memory = scene.memory();
        println!(
            "| {what} | {} KB resident, {} KB anonymous, {} KB at the most, {} threads |",
            memory.resident, memory.anonymous, memory.peak, memory.threads
        );
        memory
    };

    let scene = Scene::new(Program::new(&path));
    scene.connected();
    std::thread::sleep(Duration::from_millis(500));
    row("idle, connected", &scene);
    for n in 0..1000 {
        let namespace = format!("ns-{:02}", n % 20);
        scene.server.put(
            &CONFIGMAPS,
            object::contest_configmap(&namespace, &format!("c-{n:04}"), "figures", n),
        );
    }
    let mut watches: Vec<_> = (0..50)
        .map(|n| {
            let path = format!("/api/v1/namespaces/ns-{:02}/configmaps", n % 20);
            let mut watch = scene.client().watching(&format!(
                "{path}?watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
            ));
            (0..51).for_each(|_| drop(watch.event()));
            watch
        })
        .collect();
    assert_eq!(
        scene.server.watches_open(),
        20,
        "fifty local watches are twenty upstream"
    );
    row(
        "1,000 objects mirrored, 50 local watches, 20 upstream",
        &scene,
    );
    for n in 0..1000 {
        let namespace = format!("ns-{:02}", n % 20);
        scene.server.patch_labels(
            &CONFIGMAPS,
            &namespace,
            &format!("c-{n:04}"),
            &[("turn", Some("1"))],
        );
    }
    for watch in &mut watches {
        (0..50).for_each(|_| drop(watch.change()));
    }
    row("... after 1,000 changes on them", &scene);
    drop(watches);
    drop(scene);

    let scene = Scene::new(Program::new(&path));
    scene
        .server
        .put(&CONFIGMAPS, object::configmap("many", "one", &[], "x"));
    let version = scene
        .client()
        .list("/api/v1/namespaces/many/configmaps")
        .version();
    let target = format!("/api/v1/namespaces/many/configmaps?watch=true&resourceVersion={version}");
    let first = scene.client().watching(&target);
    let before = scene.memory();
    let watches: Vec<_> = (0..1000)
        .map(|_| scene.client().watching(&target))
        .collect();
    let during = row("1,000 local watches on one collection", &scene);
    println!(
        "| ... each | {} bytes |",
        (during.anonymous - before.anonymous) * 1024 / 1000
    );
    drop((first, watches));
    drop(scene);

    // A kubelet watches each secret and configmap that a pod mounts by its name.
    let scene = Scene::new(Program::new(&path));
    for n in 0..151 {
        scene.server.put(
            &CONFIGMAPS,
            object::configmap("named", &format!("c-{n:03}"), &[], "x"),
        );
    }
    let open = |n: u32| {
        let mut watch = scene.client().watching(&format!(
            "/api/v1/namespaces/named/configmaps?allowWatchBookmarks=true&fieldSelector=metadata.name%3Dc-{n:03}\
             &resourceVersionMatch=NotOlderThan&sendInitialEvents=true&watch=true"
        ));
        (0..2).for_each(|_| drop(watch.event()));
        watch
    };
    let first = open(150);
    let before = scene.memory();
    let watches: Vec<_> = (0..150).map(open).collect();
    let during = row("150 collections of one object, a watch on each", &scene);
    println!(
        "| ... each | {} bytes |",
        (during.anonymous - before.anonymous) * 1024 / 150
    );
    drop((first, watches));
    drop(scene);

    let scene = Scene::new(Program::new(&path));
    for n in 0..2000 {
        let name = format!("{}large-{n:05}", if n % 10 == 0 { "skip-" } else { "" });
        scene
            .server
            .put(&CONFIGMAPS, object::big_configmap("large", &name, 20_000));
    }
    scene.connected();
    let before = scene.memory();
    let list = scene
        .client()
        .patient(Duration::from_secs(120))
        .list("/api/v1/namespaces/large/configmaps");
    let after = row(
        &format!(
            "a list of {} MB through filter and mirror",
            list.body.len() / 1_000_000
        ),
        &scene,
    );
    println!("| ... more than before | {} KB |", after.peak - before.peak);
}
