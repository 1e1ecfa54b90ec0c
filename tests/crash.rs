//! `kill -9` at any moment, then a start without a line: the answer is a state that the server had, or 503.

use std::collections::BTreeMap;
use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;
use std::time::Duration;

use serde_json::Value;

use crate::scene;
use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::cable::Mode;
use crate::support::object;
use crate::support::random::Random;

/// Objects by name, each by a digest of what stands in a list.
type State = BTreeMap<String, u64>;

fn state(items: &[Value]) -> State {
    items.iter().map(digest).collect()
}

fn digest(item: &Value) -> (String, u64) {
    let mut hasher = DefaultHasher::new();
    item.to_string().hash(&mut hasher);
    let name = item["metadata"]["name"].as_str().unwrap_or_default();
    (name.to_owned(), hasher.finish())
}

#[test]
fn fifty_kills_under_load_never_leave_a_state_that_the_server_did_not_have() {
    let mut random = Random::new("crash");
    let mut scene = scene();
    let mut known = 0;
    let mut all: BTreeMap<String, BTreeMap<u64, State>> = BTreeMap::new();
    for round in 0..50 {
        // A namespace of its own every fifth round: its first list is what the kill may hit.
        let namespace = format!("ns-{}", round / 5);
        let path = format!("/api/v1/namespaces/{namespace}/configmaps");
        // Every state of the server is written down, by the version that it stands at: an agent that resumes its watch goes
        // through these one by one.
        let states = all.entry(namespace.clone()).or_default();
        let mut current = state(&scene.direct().list(&path).items());
        for n in 0..40 {
            let name = format!("c-{n:02}");
            let version = scene
                .server
                .put(&CONFIGMAPS, object::big_configmap(&namespace, &name, 1500));
            let item = scene
                .server
                .item(&CONFIGMAPS, &namespace, &name)
                .expect("it was just made");
            current.extend([digest(&serde_json::from_str(&item).expect("JSON"))]);
            states.insert(version, current.clone());
        }
        scene.restore();
        scene.connected();
        let kill_after = Duration::from_micros(200 + random.below(30_000));
        std::thread::scope(|scope| {
            let client = scene.client();
            let (watched, listed) = (path.clone(), path.clone());
            let watcher = client.clone();
            scope.spawn(move || {
                // Whatever the kill does to them; what counts is what is found afterwards.
                let _ = client.get(&listed);
                let _ = client.get(&listed);
            });
            scope.spawn(move || {
                let query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
                if let Ok(mut watch) = watcher.watch(&format!("{watched}?{query}")) {
                    let _ = watch.collect(Duration::from_millis(60));
                }
            });
            let server = &scene.server;
            let mut n = 0;
            let began = std::time::Instant::now();
            while began.elapsed() < kill_after {
                let list = scene.direct().list(&path);
                states.insert(list.version(), state(&list.items()));
                let name = format!("c-{:02}", n % 45);
                if n % 4 == 3 {
                    server.delete(&CONFIGMAPS, &namespace, &name);
                } else {
                    server.put(
                        &CONFIGMAPS,
                        object::big_configmap(&namespace, &name, 1000 + n),
                    );
                }
                n += 1;
            }
            let list = scene.direct().list(&path);
            states.insert(list.version(), state(&list.items()));
            kill(&scene);
        });
        scene.cut(Mode::Refuse);
        scene.restart();
        let answer = scene.client().get(&path).expect("an answer");
        match answer.status {
            200 => {
                known += 1;
                let (version, found) = (answer.version(), state(&answer.items()));
                // Between two states that were written down lies one change, whose version is the list's.
                let expected = states.range(..=version).next_back().map(|(_, state)| state);
                assert!(
                    expected == Some(&found),
                    "round {round}: version {version}, {} objects; states {:?}",
                    found.len(),
                    states
                        .iter()
                        .map(|(version, state)| (*version, state.len()))
                        .collect::<Vec<_>>()
                );
            }
            503 => assert_eq!(answer.json()["kind"], "Status"),
            other => panic!("round {round}: {other} {}", answer.text()),
        }
    }
    assert!(
        known >= 25,
        "only {known} of 50 found anything: the test tests too little"
    );
}

/// Ends the agent at once, while others hold the scene.
fn kill(scene: &crate::Scene) {
    let status = std::process::Command::new("kill")
        .args(["-9", &scene.pid().to_string()])
        .status();
    assert!(status.expect("kill is there").success());
}
