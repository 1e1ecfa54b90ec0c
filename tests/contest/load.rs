//! T25–T27: many, large, slow.

use std::time::Duration;

use super::PATH;
use super::fill;
use super::scene;
use super::selected;
use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::client::Next;
use crate::support::object;

#[test]
fn t25_a_closed_loop_of_lists_is_complete_and_memory_does_not_grow() {
    let scene = scene();
    for n in 0..1000 {
        let object =
            object::contest_configmap("contest", &format!("benchmark-resource-{n}"), "resource", n);
        if n < 100 {
            assert_eq!(
                scene
                    .client()
                    .write("POST", PATH, &object)
                    .expect("an answer")
                    .status,
                201
            );
        } else {
            scene.server.put(&CONFIGMAPS, object);
        }
    }
    let target = selected("resource");
    let lists = |clients: usize, each: usize| {
        std::thread::scope(|scope| {
            for _ in 0..clients {
                scope.spawn(|| {
                    let mut connection = scene.client().open().expect("the door is open");
                    for _ in 0..each {
                        let answer = connection
                            .request("GET", &target, &[], b"")
                            .expect("an answer");
                        assert_eq!((answer.status, answer.names().len()), (200, 1000));
                    }
                });
            }
        });
    };
    lists(1, 40);
    // The heap finds its size within the first rounds of many at once.
    (0..6).for_each(|_| lists(25, 2));
    let before = scene.memory();
    lists(1, 40);
    (0..6).for_each(|_| lists(25, 2));
    let after = scene.memory();
    assert!(
        after.peak <= before.peak + 2048,
        "{before:?} then {after:?}"
    );
    assert!(after.anonymous < 8 * 1024, "{after:?}");
}

#[test]
fn t26_idle_watches_are_cheap_and_one_that_reads_nothing_delays_nobody() {
    let scene = scene();
    fill(&scene, "idle", 10, false);
    let version = scene.client().list(PATH).version();
    let target = format!("{PATH}?watch=true&resourceVersion={version}");
    let one = scene.client().watching(&target);
    let before = scene.memory();
    let mut watches: Vec<_> = (0..400).map(|_| scene.client().watching(&target)).collect();
    let during = scene.memory();
    assert_eq!(
        scene.server.watches_open(),
        1,
        "one upstream watch, however many local ones"
    );
    let each = (during.anonymous - before.anonymous) * 1024 / 400;
    // An unoptimized agent's futures are larger than a release's, whose figures are in README.
    assert!(each < 24 * 1024, "{each} bytes a watch");
    // One of them is never read while megabytes of changes go by: it costs its own buffers, and delays nobody.
    let unread = watches.pop().expect("there are many");
    let mut busy = watches.pop().expect("there are many");
    drop((one, watches));
    scene.wait("the others are gone", || scene.descriptors() < 60);
    for n in 0..60 {
        scene.server.put(
            &CONFIGMAPS,
            object::big_configmap("contest", &format!("big-{}", n % 3), 100_000),
        );
        let event = busy.change();
        assert_eq!(event.name(), format!("big-{}", n % 3));
    }
    let after = scene.memory();
    assert!(
        after.anonymous < during.anonymous + 2048,
        "{during:?} then {after:?}: what is unread waits on flash"
    );
    drop((unread, busy));
    scene.wait("descriptors are given back", || scene.descriptors() < 60);
}

#[test]
fn t27_a_large_list_streams_through_filter_and_mirror() {
    let scene = scene();
    for n in 0..1200 {
        let name = format!("{}large-{n:04}", if n % 4 == 0 { "skip-" } else { "" });
        scene
            .server
            .put(&CONFIGMAPS, object::big_configmap("contest", &name, 10_000));
    }
    scene.connected();
    let before = scene.memory();
    let list = scene.client().list(PATH);
    assert!(list.body.len() > 9_000_000, "{} bytes", list.body.len());
    assert_eq!(list.names().len(), 900);
    let after = scene.memory();
    assert!(
        after.peak - before.peak < 3 * 1024,
        "{before:?} then {after:?}: a list must not be held in memory"
    );
    assert!(
        list.first_byte < list.elapsed,
        "the first item does not wait for the last"
    );
    scene.cut(crate::support::cable::Mode::Refuse);
    // In protobuf what is left out on the way leaves a gap that readers skip, and from the mirror none.
    assert!(scene.client().list(PATH).item_texts() == list.item_texts());
    let mut watch = scene.client().watching(&format!(
        "{PATH}?watch=true&resourceVersion={}",
        list.version()
    ));
    assert!(matches!(
        watch.next(Duration::from_millis(100)),
        Next::Silent
    ));
}
