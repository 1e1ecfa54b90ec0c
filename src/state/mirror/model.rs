//! Random operations on a mirror beside a plain map, with readers that come, go, lag and return.

use std::rc::Rc;

use crate::io::flash::memory::Memory;
use crate::io::flash::memory::Random;
use crate::k8s::object::ObjectKey;
use crate::k8s::object::ResourceVersion;
use crate::state::mirror::Error;
use crate::state::mirror::Log;
use crate::state::mirror::Lookup;
use crate::state::mirror::Mirror;
use crate::state::mirror::testing;
use crate::state::mirror::testing::Client;
use crate::state::mirror::testing::Clock;
use crate::state::mirror::testing::Objects;
use crate::state::mirror::testing::Server;

/// What the log must say: C and the objects; none when it must not say anything.
type Expected = Option<(u64, Objects)>;

struct Scene {
    random: Random,
    flash: Memory,
    mirror: Rc<Mirror>,
    log: Rc<Log>,
    server: Server,
    /// The objects as the delivered events leave them.
    mirrored: Objects,
    expected: Expected,
    clients: Vec<Client>,
    clock: Clock,
    compactions: u32,
}

fn check(scene: &Scene) -> Result<(), Error> {
    assert_eq!(testing::content(&scene.log)?, scene.expected);
    let Some((version, objects)) = &scene.expected else {
        assert_eq!(scene.log.complete(), None);
        return Ok(());
    };
    assert_eq!(scene.log.complete(), Some(ResourceVersion(*version)));
    assert!(scene.log.ahead() >= scene.log.complete());
    assert!(scene.log.oldest().0 <= *version);
    for number in 0..scene.server.keys {
        let namespace = ["default", "kube-system"][number % 2];
        let key = ObjectKey::new(namespace, &format!("o{number}"));
        let held = objects.get(key.as_str());
        match scene.log.lookup(&key)? {
            Lookup::Found(stored) => {
                assert_eq!(Some(&(stored.version.0, stored.object)), held);
            }
            Lookup::Absent => assert_eq!(held, None),
            Lookup::Unknown => unreachable!("it is complete"),
        }
    }
    Ok(())
}

/// After every event of the watch the objects are those of the server as of then.
fn deliver(scene: &mut Scene, count: usize) -> Result<(), Error> {
    let mut writer = scene.log.writer().expect("nobody else writes");
    for _ in 0..count {
        let Some((key, version, value)) = scene.server.peek() else {
            break;
        };
        let delivered = scene.server.deliver(&mut writer);
        if scene.expected.is_none() {
            assert!(matches!(delivered, Err(Error::Incomplete)));
            continue;
        }
        assert!(delivered?);
        match value {
            Some(value) => drop(scene.mirrored.insert(key, value)),
            None => drop(scene.mirrored.remove(&key)),
        }
        scene.expected = Some((version, scene.mirrored.clone()));
    }
    Ok(())
}

async fn list(scene: &mut Scene) -> Result<(), Error> {
    let mut writer = scene.log.writer_wait().await;
    let written = scene.mirror.stats().written_bytes;
    let before = scene.expected.clone();
    let changed = scene.server.list(&mut writer).await?;
    let after = scene.server.objects.clone();
    if before.as_ref().map(|(_, objects)| objects) == Some(&after) {
        assert_eq!((changed.puts, changed.deletes), (0, 0));
        assert_eq!(scene.mirror.stats().written_bytes, written);
        assert_eq!(
            scene.log.ahead(),
            Some(ResourceVersion(scene.server.version))
        );
    } else {
        scene.expected = Some((scene.server.version, after.clone()));
    }
    assert!(!changed.reset);
    scene.mirrored = after;
    Ok(())
}

async fn aborted_list(scene: &mut Scene) -> Result<(), Error> {
    let mut writer = scene.log.writer_wait().await;
    writer.begin(None)?;
    let count = scene.random.below(scene.server.keys);
    scene.server.items(&mut writer, count).await?;
    if scene.random.below(2) == 0 {
        // In the middle of a batch: the future is dropped while the worker has it.
        let large = vec![b'{'; 70_000];
        let key = ObjectKey::new("default", "large");
        let version = ResourceVersion(scene.server.version + 1);
        let item = writer.item(&key, version, true, &large);
        let mut item = std::pin::pin!(item);
        // Ready only when the worker was quicker than we are.
        drop(smol::future::poll_once(&mut item).await);
    }
    Ok(())
}

fn reopen(scene: &mut Scene) {
    scene.flash = scene.flash.after_kill();
    scene.mirror = testing::open(&scene.flash);
    let name = scene.log.name().clone();
    assert_eq!(
        scene.mirror.find(&name).is_some(),
        scene.expected.is_some(),
        "known as before, with what was written and not synced"
    );
    scene.log = scene
        .mirror
        .ensure(&name, std::time::Duration::ZERO)
        .expect("a log");
    // Clients come back to the new process with the version that they have.
    let log = Rc::clone(&scene.log);
    scene.clients.retain_mut(|client| client.resume(&log));
}

/// Every client that has read all has exactly what the log has.
fn read(scene: &mut Scene) -> Result<(), Error> {
    if scene.clients.len() < 5
        && let Some(client) = Client::start(&scene.log)?
    {
        scene.clients.push(client);
    }
    let mut kept = Vec::new();
    for mut client in std::mem::take(&mut scene.clients) {
        match scene.random.below(6) {
            // It lags.
            0 | 1 => {}
            2 => {
                if !client.resume(&scene.log) {
                    continue;
                }
            }
            some => {
                let count = if some == 3 { 2 } else { usize::MAX };
                match client.read(count)? {
                    None => continue,
                    Some(true) => {
                        let (version, objects) = scene.expected.as_ref().expect("complete");
                        assert_eq!(&client.objects, objects);
                        assert_eq!(client.cursor.version().0, *version);
                    }
                    Some(false) => {}
                }
            }
        }
        kept.push(client);
    }
    scene.clients = kept;
    Ok(())
}

async fn step(scene: &mut Scene) -> Result<(), Error> {
    match scene.random.below(24) {
        0..=7 => {
            for _ in 0..scene.random.below(6) {
                scene.server.change(&mut scene.random);
            }
        }
        8..=12 => {
            let count = 1 + scene.random.below(8);
            deliver(scene, count)?;
        }
        13 => list(scene).await?,
        14 => aborted_list(scene).await?,
        15 => {
            // A bookmark is sent when everything was.
            deliver(scene, usize::MAX)?;
            let mut writer = scene.log.writer().expect("nobody else writes");
            writer.advance(ResourceVersion(scene.server.version));
        }
        16 => {
            scene.mirror.close().await?;
            if let Some((version, _)) = &mut scene.expected {
                *version = scene.log.ahead().expect("complete").0;
            }
        }
        17 => reopen(scene),
        18 if scene.random.below(6) == 0 => {
            // The server was restored from a backup.
            scene.server.version /= 2;
            scene.server.objects.clear();
            let mut writer = scene.log.writer().expect("nobody else writes");
            writer.reset()?;
            scene.expected = None;
            scene.server.forget_pending();
            for mut client in std::mem::take(&mut scene.clients) {
                assert_eq!(client.read(1)?, None, "readers must start anew");
            }
            scene.mirrored.clear();
        }
        19 | 20 => {
            let bytes = scene.mirror.stats().file_bytes;
            let now = scene.clock.after(4);
            scene.mirror.tend(now).await;
            scene.compactions += u32::from(scene.mirror.stats().file_bytes < bytes);
        }
        _ => read(scene)?,
    }
    check(scene)
}

fn run(seed: u64, steps: usize, size: usize) -> u32 {
    let flash = Memory::default();
    let mirror = testing::open(&flash);
    let log = mirror
        .ensure(
            // Every second one is sealed.
            &testing::collection(["configmaps", "secrets"][seed as usize % 2]),
            std::time::Duration::ZERO,
        )
        .expect("a log");
    let mut scene = Scene {
        random: Random::new(seed),
        flash,
        mirror,
        log,
        server: Server::new(100),
        mirrored: Objects::new(),
        expected: None,
        clients: Vec::new(),
        clock: Clock::new(),
        compactions: 0,
    };
    scene.server.size = size;
    for number in 0..steps {
        smol::block_on(step(&mut scene))
            .unwrap_or_else(|error| panic!("seed {seed} step {number}: {error}"));
    }
    scene.compactions
}

#[test]
fn random_operations_say_what_a_map_says() {
    for seed in 0..25 {
        run(seed, 300, 300);
    }
}

#[test]
fn random_operations_with_large_objects_compact_often_and_say_the_same() {
    let compactions: u32 = (100..110).map(|seed| run(seed, 300, 20_000)).sum();
    assert!(compactions > 20, "{compactions}");
}
