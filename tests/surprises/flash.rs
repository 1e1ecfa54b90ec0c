//! P02, P13–P15, P24: what comes to flash, and what a damaged or full one does.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use std::time::SystemTime;

use crate::Scene;
use crate::agent;
use crate::cases::MAPS;
use crate::cases::put_map;
use crate::cases::put_maps;
use crate::cases::put_pods;
use crate::cases::refusal;
use crate::cases::watch_after;
use crate::scene;
use crate::support::apiserver::Options;
use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::cable::Mode;
use crate::support::cable::Quality;
use crate::support::client::Next;
use crate::support::object;

use super::reboot;

/// Nothing is known: 503.
fn unavailable() -> (u16, String) {
    (503, "ServiceUnavailable".to_owned())
}

/// The ConfigMaps of a namespace.
fn maps_of(namespace: &str) -> String {
    CONFIGMAPS.path(namespace)
}

/// Puts so many ConfigMaps of 2 KB into a namespace.
fn fill(scene: &Scene, namespace: &str, names: std::ops::Range<usize>) -> u64 {
    let put = |n| {
        let map = object::big_configmap(namespace, &format!("c-{n:02}"), 2_000);
        scene.server.put(&CONFIGMAPS, map)
    };
    names.map(put).max().expect("at least one")
}

/// The mirror's files, when each was written and how long it is.
fn files(scene: &Scene) -> Vec<(PathBuf, SystemTime, u64)> {
    let folder = fs::read_dir(scene.folder().join("state/mirror")).expect("the mirror's folder");
    let mut files: Vec<_> = folder
        .map(|file| file.expect("a file").path())
        .map(|path| {
            let meta = path.metadata().expect("its size");
            (path, meta.modified().expect("its time"), meta.len())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn p02_lists_one_upon_another_are_all_kept_and_write_what_has_changed_only() {
    let scene = scene();
    fill(&scene, "ns", 0..50);
    let whole = scene.client().list(MAPS);
    let once = scene.mirror_bytes();
    let loops = |each: usize| {
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mut connection = scene.client().open().expect("the door is open");
                        let mut list = || connection.request("GET", MAPS, &[], b"");
                        let answers = (0..each).map(|_| list().expect("an answer"));
                        answers.map(|answer| answer.version()).max()
                    })
                })
                .collect();
            let told = clients.into_iter().map(|c| c.join().expect("no panic"));
            told.flatten().max().expect("lists")
        })
    };
    assert_eq!(loops(10), whole.version());
    assert_eq!(scene.mirror_bytes(), once, "nothing has changed");
    // Each list has something new, and the next comes before the last could be written at leisure.
    let mut last = whole;
    for n in 0..30 {
        put_map(&scene, &format!("n-{}", n % 7));
        last = scene.client().list(MAPS);
    }
    let grown = scene.mirror_bytes() - once;
    assert!(grown < 30 * 2_000, "thirty small objects: {grown} bytes");
    scene.cut(Mode::Refuse);
    assert_eq!(scene.client().list(MAPS).body, last.body);
    scene.restore();
    scene.connected();
    let changed = std::thread::scope(|scope| {
        let told = scope.spawn(|| loops(10));
        for n in 0..30 {
            put_map(&scene, &format!("n-{}", n % 7));
        }
        told.join().expect("no panic")
    });
    scene.cut(Mode::Refuse);
    assert!(scene.client().list(MAPS).version() >= changed);
}

#[test]
fn p13_a_kill_during_the_first_list_leaves_503_or_the_whole_of_it_and_never_an_empty_one() {
    let mut scene = scene();
    let mut unknown = 0;
    for (round, bytes) in [2_000, 20_000, 50_000, 80_000, 95_000]
        .into_iter()
        .enumerate()
    {
        scene.restore();
        scene.connected();
        let namespace = format!("ns-{round}");
        fill(&scene, &namespace, 0..45);
        // Two seconds of it; not so large that it would come compressed.
        scene.cable.set_quality(Quality {
            rate: 400_000,
            delay: Duration::ZERO,
        });
        let before = scene.cable.counters();
        let client = scene.client();
        let target = maps_of(&namespace);
        let asked = std::thread::spawn(move || client.get(&target));
        scene.wait("the list is on its way", || {
            scene.cable.counters().since(&before).down > bytes
        });
        scene.kill();
        // The client may have got it all, or a part of it that says that it is one.
        let answer = asked.join().expect("no panic");
        scene.cable.set_quality(Quality::default());
        reboot(&mut scene);
        for _ in 0..2 {
            let kept = scene.client().get(&maps_of(&namespace)).expect("an answer");
            if kept.status == 200 {
                assert_eq!(kept.names().len(), 45, "{bytes} bytes");
            } else {
                assert_eq!((kept.status, kept.reason()), unavailable(), "{bytes} bytes");
                assert!(answer.is_err(), "what a client was told whole is kept");
                unknown += 1;
            }
        }
    }
    assert!(unknown >= 6, "most were killed in their midst: {unknown}");
    // Killed as soon as the client has it: it is all there.
    scene.restore();
    scene.connected();
    fill(&scene, "last", 0..45);
    let online = scene.client().list(&maps_of("last"));
    reboot(&mut scene);
    assert_eq!(scene.client().list(&maps_of("last")).body, online.body);
}

/// A scene whose agent can't write files longer than 32 KB: the write that passes it falls short, the next one fails.
fn with_little_room() -> Scene {
    let program = crate::agent_behind("trap '' XFSZ; ulimit -f 64");
    Scene::with(program, Options::default(), &[])
}

#[test]
fn p14_a_list_that_found_no_room_is_503_when_cut_off_and_never_a_part_of_it() {
    let mut scene = with_little_room();
    fill(&scene, "large", 0..40);
    fill(&scene, "small", 0..5);
    let small = scene.client().list(&maps_of("small"));
    for _ in 0..3 {
        let list = scene.client().list(&maps_of("large"));
        assert_eq!(list.names().len(), 40, "online it is the cloud's");
        assert_eq!(list.header("warning"), None);
    }
    // One that fits at first and outgrows its room under a watch.
    let version = fill(&scene, "grown", 0..5);
    let mut states = vec![(version, 5)];
    let grown = scene.client().list(&maps_of("grown"));
    let mut watch = watch_after(&scene, &maps_of("grown"), grown.version());
    for n in 5..40 {
        states.push((fill(&scene, "grown", n..n + 1), n + 1));
    }
    loop {
        match watch.next(Duration::from_secs(20)) {
            Next::Event(event) if event.event == "ERROR" => break,
            Next::Event(event) if event.version() >= states[35].0 => break,
            Next::Event(_) => {}
            other => panic!("neither all of it nor an end that says so: {other:?}"),
        }
    }
    let list = scene.client().list(&maps_of("grown"));
    assert_eq!(list.names().len(), 40, "online it is the cloud's");
    for round in 0..2 {
        scene.cut_off(Mode::Refuse);
        let large = maps_of("large");
        assert_eq!(refusal(&scene, &large), unavailable(), "round {round}");
        let kept = scene.client().list(&maps_of("small"));
        assert_eq!(kept.body, small.body, "round {round}");
        let grown = scene.client().get(&maps_of("grown")).expect("an answer");
        if grown.status == 200 {
            let state = (grown.version(), grown.names().len());
            assert!(states.contains(&state), "round {round}: {state:?}");
        } else {
            assert_eq!((grown.status, grown.reason()), unavailable());
        }
        reboot(&mut scene);
    }
}

#[test]
fn p15_a_file_that_was_cut_or_damaged_is_an_earlier_state_or_503_and_never_one_object_short() {
    let mut scene = scene();
    put_pods(&scene);
    let pods = scene.client().list("/api/v1/pods");
    put_maps(&scene, 9);
    let mut states = vec![scene.client().list(MAPS).body];
    for n in 3..6 {
        put_map(&scene, &format!("c-{n}"));
        states.push(scene.client().list(MAPS).body);
    }
    scene.kill();
    scene.cut(Mode::Refuse);
    let name = |path: &PathBuf| path.file_name().map(|name| name.to_owned());
    let of_maps = |(path, ..): &(PathBuf, SystemTime, u64)| {
        name(path).is_some_and(|name| name.to_string_lossy().starts_with("configmaps"))
    };
    let (path, _, length) = files(&scene).into_iter().find(of_maps).expect("its log");
    let whole = fs::read(&path).expect("its log");
    let length = usize::try_from(length).expect("a small file");
    assert_eq!(whole.len(), length);
    let damaged = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    let cut = (0..12).map(|n| whole[..length * n / 12].to_vec());
    let torn = [100, length - 1, length - 100].map(|end| whole[..end].to_vec());
    let flipped = (1..8).map(|n| damaged(length * n / 8));
    let (mut served, mut refused) = (0, 0);
    for (step, bytes) in cut.chain(torn).chain(flipped).enumerate() {
        fs::write(&path, bytes).expect("written");
        scene.start();
        let answer = scene.client().get(MAPS).expect("an answer");
        if answer.status == 200 {
            served += 1;
            assert!(states.contains(&answer.body), "{step}: {}", answer.text());
        } else {
            refused += 1;
            assert_eq!((answer.status, answer.reason()), unavailable(), "{step}");
        }
        let others = scene.client().list("/api/v1/pods");
        assert_eq!(others.body, pods.body, "{step}: another collection");
        scene.kill();
    }
    assert!(served > 2 && refused > 2, "{served} and {refused}");
}

#[test]
fn p24_a_node_where_nothing_happens_writes_nothing_and_asks_nothing() {
    let options = Options {
        bookmark_period: Duration::from_millis(20),
        ..Options::default()
    };
    let scene = Scene::with(agent(), options, &[]);
    put_maps(&scene, 3);
    let version = scene.client().list(MAPS).version();
    let watches: Vec<_> = (0..5).map(|_| watch_after(&scene, MAPS, version)).collect();
    scene.wait("it runs upstream", || scene.server.watches_open() == 1);
    let (kept, before) = (files(&scene), scene.cable.counters());
    scene.server.forget_requests();
    for _ in 0..20 {
        // Elsewhere in the cloud things go on, and bookmarks tell of it.
        scene.server.skip_versions(10);
        let down = scene.cable.counters().down;
        scene.wait("a bookmark comes", || {
            scene.cable.counters().down > down + 100
        });
        drop(watch_after(&scene, MAPS, version));
    }
    assert_eq!(files(&scene), kept);
    assert_eq!(scene.server.requests().len(), 0);
    let crossed = scene.cable.counters().since(&before);
    assert_eq!(crossed.opened, 0, "{crossed:?}");
    drop(watches);
}
