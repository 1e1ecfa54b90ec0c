//! The main job, shown: `cargo run --release --example demo`.
//!
//! An embedded API server behind a cable, the real agent, and a client, all on loopback. It ends with 0 only if each step was
//! right. The agent is this same program, started again as `toono agent`, so that it can be killed.
#![allow(clippy::print_stdout)] // Printing is what a demo does.

mod support;

use std::process::ExitCode;
use std::time::Duration;
use std::time::Instant;

use support::apiserver::kind::CONFIGMAPS;
use support::apiserver::kind::PODS;
use support::apiserver::kind::SERVICES;
use support::cable::Mode;
use support::object;
use support::scene::Program;
use support::scene::Scene;

const CONFIGS: &str = "/api/v1/namespaces/edge/configmaps";
const WATCH: &str = "/api/v1/namespaces/edge/configmaps?watch=true&allowWatchBookmarks=true&sendInitialEvents=true\
                     &resourceVersionMatch=NotOlderThan";
const PODS_OF_NODE: &str = "/api/v1/pods?fieldSelector=spec.nodeName%3Dedge-00";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|verb| verb == "agent") {
        return toono::shell::cli::main(arguments, |_| Err(std::io::ErrorKind::Unsupported.into()));
    }
    // A step that was not right panics, which is an exit code of its own.
    show();
    ExitCode::SUCCESS
}

/// One line of the report; `right` must be.
fn step(right: bool, what: &str) {
    println!("  {} {what}", if right { "ok  " } else { "FAIL" });
    assert!(right, "{what}");
}

fn show() {
    let began = Instant::now();
    let mut scene = Scene::new(Program::new(
        std::env::current_exe().expect("this program has a file"),
    ));
    for n in 0..300 {
        let prefix = if n % 10 == 0 { "skip-" } else { "" };
        scene.server.put(
            &CONFIGMAPS,
            object::contest_configmap("edge", &format!("{prefix}config-{n:03}"), "demo", n),
        );
    }
    for n in 0..40 {
        scene.server.put(
            &PODS,
            object::pod(
                "edge",
                &format!("app-{n:02}"),
                "edge-00",
                &[("app", "demo")],
            ),
        );
        scene
            .server
            .put(&SERVICES, object::service("edge", &format!("svc-{n:02}")));
    }
    scene.connected();

    println!(
        "An API server (TLS, HTTP/2, 380 objects), a cable, the agent: up after {} ms",
        began.elapsed().as_millis()
    );
    let idle = scene.memory();
    println!(
        "  the agent, idle: {} KB resident, {} KB of its own, {} threads",
        idle.resident, idle.anonymous, idle.threads
    );

    println!("List and filter");
    let online = scene.client().list(CONFIGS);
    step(
        online.names().len() == 270,
        &format!("270 of 300 configmaps in {:?}", online.elapsed),
    );
    step(
        !online.names().iter().any(|name| name.starts_with("skip-")),
        "none whose name starts with skip-",
    );
    let direct: Vec<String> = scene.direct().list(CONFIGS).item_texts();
    step(
        online.item_texts().iter().all(|item| direct.contains(item)),
        "byte for byte as the API server sent them",
    );
    let pods = scene.client().list(PODS_OF_NODE);
    step(pods.names().len() == 40, "40 pods of this node");

    println!("Watch");
    let mut watch = scene.client().watching(WATCH);
    let initial: Vec<_> = (0..270).map(|_| watch.event()).collect();
    step(
        initial.iter().all(|event| event.event == "ADDED"),
        "270 objects on one stream (WatchList)",
    );
    step(
        watch.event().line.contains("initial-events-end"),
        "then the bookmark that says that they are all",
    );
    let changed = Instant::now();
    scene.server.patch_labels(
        &CONFIGMAPS,
        "edge",
        "config-001",
        &[("seen", Some("online"))],
    );
    let event = watch.change();
    step(
        event.name() == "config-001" && event.event == "MODIFIED",
        &format!("a change after {:?}", changed.elapsed()),
    );
    scene.server.patch_labels(
        &CONFIGMAPS,
        "edge",
        "skip-config-010",
        &[("seen", Some("never"))],
    );

    println!("The line is cut: packets dropped, sockets open");
    let told = event.version();
    scene.cut(Mode::Drop);
    let first = scene.client().list(CONFIGS);
    let within = first.elapsed;
    step(
        within < Duration::from_secs(5),
        &format!("the first list is answered after {within:?}"),
    );
    step(
        first.names() == online.names() && first.version() >= told,
        "with the same items, at no older version",
    );
    let again = scene.client().list(CONFIGS);
    step(
        again.names() == online.names(),
        &format!("the next one after {:?}", again.elapsed),
    );
    let label = scene
        .client()
        .list(&format!("{CONFIGS}?labelSelector=seen%3Donline"));
    step(
        label.names() == ["config-001"],
        "a label selector is evaluated here, and the change is in",
    );
    let unknown = scene.client().get("/api/v1/secrets").expect("an answer");
    step(
        unknown.status == 503,
        "what was never known is 503, not 404 and not an empty list",
    );
    let write = scene
        .client()
        .request("DELETE", &format!("{CONFIGS}/config-001"), &[], b"")
        .expect("an answer");
    step(
        write.status == 503 && write.reason() == "ServiceUnavailable",
        "a write is refused with a clear Status",
    );

    println!(
        "Meanwhile in the cloud: one changed, one deleted, one new. The agent is killed and starts offline"
    );
    scene.server.patch_labels(
        &CONFIGMAPS,
        "edge",
        "config-002",
        &[("seen", Some("later"))],
    );
    scene.server.delete(&CONFIGMAPS, "edge", "config-003");
    scene.server.put(
        &CONFIGMAPS,
        object::contest_configmap("edge", "config-new", "demo", 1),
    );
    drop(watch);
    let died = Instant::now();
    scene.restart();
    let started = died.elapsed();
    let after = scene.client().list(CONFIGS);
    step(
        after.names() == online.names(),
        &format!("up in {started:?}, and all 270 are there"),
    );
    step(
        after.version() >= told,
        "at no older version than was told before",
    );
    let pods = scene.client().list(PODS_OF_NODE);
    step(
        pods.names().len() == 40,
        &format!("the node's 40 pods after {:?}", pods.elapsed),
    );
    let resume = format!(
        "{CONFIGS}?watch=true&allowWatchBookmarks=true&resourceVersion={}",
        after.version()
    );
    let mut watch = scene.client().watching(&resume);

    println!("The line is back");
    scene.server.forget_requests();
    let before = scene.cable.counters();
    scene.restore();
    let (mut seen, back) = (Vec::new(), Instant::now());
    while seen.len() < 3 {
        let event = watch.change();
        seen.push((event.event.clone(), event.name().to_owned()));
    }
    let expected = [
        ("MODIFIED", "config-002"),
        ("DELETED", "config-003"),
        ("ADDED", "config-new"),
    ];
    step(
        seen.iter()
            .zip(expected)
            .all(|((kind, name), (k, n))| kind == k && name == n),
        &format!(
            "what was missed arrives as three events after {:?}",
            back.elapsed()
        ),
    );
    let crossed = scene.cable.counters().since(&before);
    step(
        scene.server.lists() == 0,
        &format!(
            "no list: {} bytes crossed, handshake included",
            crossed.bytes()
        ),
    );
    let list = scene.client().list(&format!("{CONFIGS}?resourceVersion=0"));
    step(
        list.names().len() == 270 && list.names().contains(&"config-new".to_owned()),
        "a list at any version stays here",
    );

    let memory = scene.memory();
    println!(
        "The agent at the end: {} KB resident ({} KB at the most), {} KB of its own, {} threads, {} KB of mirror",
        memory.resident,
        memory.peak,
        memory.anonymous,
        memory.threads,
        scene.mirror_bytes() / 1024
    );
    let (took, well) = scene.terminate();
    step(
        well && took < Duration::from_secs(5),
        &format!("it ends {took:?} after SIGTERM"),
    );
    println!("All of it in {:.1} s", began.elapsed().as_secs_f64());
}
