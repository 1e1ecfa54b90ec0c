//! What the flash does to the agent: no room, damage, foreign files, and what it never does: a wrong answer.

use std::fs;
use std::path::PathBuf;

use crate::scene;
use crate::support::apiserver::Options;
use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::apiserver::kind::PODS;
use crate::support::cable::Mode;
use crate::support::object;

const SMALL: &str = "/api/v1/namespaces/small/configmaps";
const LARGE: &str = "/api/v1/namespaces/large/configmaps";

/// The mirror's files whose name begins so.
fn files(scene: &crate::Scene, start: &str) -> Vec<PathBuf> {
    let folder = fs::read_dir(scene.folder().join("state/mirror")).expect("the mirror's folder");
    folder
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(start))
        })
        .collect()
}

#[test]
fn a_list_larger_than_the_cap_passes_whole_and_takes_nothing_from_the_others() {
    let scene = crate::Scene::with(crate::agent(), Options::default(), &["--flash-cap", "1"]);
    scene
        .server
        .put(&CONFIGMAPS, object::configmap("small", "one", &[], "x"));
    for n in 0..40 {
        let name = format!("c-{n:02}");
        scene
            .server
            .put(&CONFIGMAPS, object::big_configmap("large", &name, 50_000));
    }
    assert_eq!(scene.client().list(SMALL).names(), ["one"]);
    for _ in 0..2 {
        let list = scene.client().list(LARGE);
        assert_eq!(list.names().len(), 40);
        let mut watch = scene.client().watching(&format!(
            "{LARGE}?watch=true&resourceVersion={}",
            list.version()
        ));
        scene
            .server
            .patch_labels(&CONFIGMAPS, "large", "c-07", &[("a", Some("b"))]);
        assert_eq!(watch.change().name(), "c-07");
    }
    assert!(scene.mirror_bytes() <= 1 << 20);
    scene.cut(Mode::Refuse);
    assert_eq!(scene.client().list(SMALL).names(), ["one"]);
    let refused = scene.client().get(LARGE).expect("an answer");
    assert_eq!(refused.status, 503, "{}", refused.text());
}

#[test]
fn a_collection_that_outgrows_the_cap_is_forwarded_and_answers_its_last_state_when_cut_off() {
    let scene = crate::Scene::with(crate::agent(), Options::default(), &["--flash-cap", "1"]);
    for n in 0..5 {
        let name = format!("c-{n:02}");
        scene
            .server
            .put(&CONFIGMAPS, object::big_configmap("large", &name, 80_000));
    }
    let version = scene.client().list(LARGE).version();
    let mut watch = scene
        .client()
        .watching(&format!("{LARGE}?watch=true&resourceVersion={version}"));
    let mut told = 0;
    for n in 5..12 {
        let name = format!("c-{n:02}");
        scene
            .server
            .put(&CONFIGMAPS, object::big_configmap("large", &name, 80_000));
    }
    // The watch ends when the mirror can't go on; a client lists again then, as client-go does.
    loop {
        match watch.next(std::time::Duration::from_secs(10)) {
            crate::support::client::Next::Event(event) if event.event == "ADDED" => told += 1,
            crate::support::client::Next::Event(event) => {
                assert_eq!(event.event, "ERROR", "{}", event.line);
                assert!(event.line.contains("\"code\":410"), "{}", event.line);
                break;
            }
            other => panic!("after {told} events: {other:?}"),
        }
    }
    assert!((1..7).contains(&told), "{told}");
    let list = scene.client().list(LARGE);
    assert_eq!(list.names().len(), 12);
    let mut watch = scene.client().watching(&format!(
        "{LARGE}?watch=true&resourceVersion={}",
        list.version()
    ));
    scene
        .server
        .patch_labels(&CONFIGMAPS, "large", "c-11", &[("a", Some("b"))]);
    assert_eq!(watch.change().name(), "c-11");
    scene.cut(Mode::Refuse);
    let offline = scene.client().list(LARGE);
    assert_eq!(
        offline.names().len(),
        5 + told,
        "the last state that was whole"
    );
    assert!(offline.version() < list.version());
}

#[test]
fn damage_drops_one_collection_and_the_others_stand() {
    let mut scene = scene();
    scene
        .server
        .put(&CONFIGMAPS, object::configmap("small", "one", &[], "x"));
    scene
        .server
        .put(&PODS, object::pod("small", "p", "edge-00", &[]));
    let pods = "/api/v1/namespaces/small/pods";
    scene.client().list(SMALL);
    scene.client().list(pods);
    let (_, well) = scene.terminate();
    assert!(well);
    let damaged = files(&scene, "configmaps");
    assert_eq!(damaged.len(), 1);
    let mut bytes = fs::read(&damaged[0]).expect("a log");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x20;
    fs::write(&damaged[0], &bytes).expect("written");
    let folder = scene.folder().join("state/mirror");
    for (name, text) in [
        ("configmaps-0000ffff.log", "not a log at all"),
        ("pods-0000fffe.log", ""),
        ("README", "left by somebody"),
        ("pods-0000fffd.new", "a compaction that was cut"),
    ] {
        fs::write(folder.join(name), text).expect("written");
    }
    fs::create_dir(folder.join("pods-0000fffc.log")).expect("made");
    scene.cut(Mode::Refuse);
    scene.start();
    assert_eq!(scene.client().list(pods).names(), ["p"]);
    let refused = scene.client().get(SMALL).expect("an answer");
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(folder.join("README").exists(), "not ours to remove");
    scene.restore();
    scene.connected();
    assert_eq!(scene.client().list(SMALL).names(), ["one"]);
    scene.cut(Mode::Refuse);
    assert_eq!(scene.client().list(SMALL).names(), ["one"]);
}

#[test]
fn a_file_that_ends_early_is_a_state_that_was_there_or_unknown() {
    let mut scene = scene();
    let mut versions = Vec::new();
    for n in 0..5 {
        scene.server.put(
            &CONFIGMAPS,
            object::configmap("small", &format!("c-{n}"), &[], "x"),
        );
        let list = scene.client().list(SMALL);
        versions.push((list.version(), list.names()));
    }
    scene.kill();
    let logs = files(&scene, "configmaps");
    let bytes = fs::read(&logs[0]).expect("a log");
    scene.cut(Mode::Refuse);
    let mut known = 0;
    for step in (0..bytes.len()).step_by(bytes.len() / 12) {
        for old in files(&scene, "configmaps") {
            fs::remove_file(old).expect("removed");
        }
        fs::write(&logs[0], &bytes[..step]).expect("written");
        scene.start();
        let answer = scene.client().get(SMALL).expect("an answer");
        if answer.status == 200 {
            known += 1;
            let state = (answer.version(), answer.names());
            assert!(versions.contains(&state), "{step}: {state:?}");
        } else {
            assert_eq!(answer.status, 503, "{step}: {}", answer.text());
        }
        scene.kill();
    }
    assert!(known > 2, "{known}");
}
