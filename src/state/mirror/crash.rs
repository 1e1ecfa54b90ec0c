//! Power cuts, kills, cut files, changed bytes and failing flash: what stands afterwards is a state that was there.

use std::rc::Rc;
use std::time::Duration;

use crate::io::flash::memory::Memory;
use crate::io::flash::memory::Random;
use crate::k8s::object::ObjectKey;
use crate::k8s::object::ResourceVersion;
use crate::state::mirror::Error;
use crate::state::mirror::Log;
use crate::state::mirror::Mirror;
use crate::state::mirror::testing;
use crate::state::mirror::testing::Clock;
use crate::state::mirror::testing::Objects;
use crate::state::mirror::testing::Server;

/// A collection as it came, and one that is sealed.
const RESOURCES: [&str; 2] = ["configmaps", "secrets"];

/// Everything that the log has said or was about to say, in order; none: unknown.
type History = Vec<Option<(u64, Objects)>>;

struct Scene {
    random: Random,
    flash: Memory,
    mirror: Rc<Mirror>,
    log: Rc<Log>,
    server: Server,
    mirrored: Objects,
    history: History,
    /// The power cut may not take anything before this place in the history.
    synced: usize,
    /// The operation that the power goes at.
    cut: u64,
    compacted: bool,
    clock: Clock,
}

impl Scene {
    fn new(resource: &'static str, seed: u64, size: usize) -> Self {
        let flash = Memory::default();
        let mirror = testing::open(&flash);
        let name = testing::collection(resource);
        let log = mirror.ensure(&name, Duration::ZERO).expect("a log");
        let mut server = Server::new(100);
        server.size = size;
        Self {
            random: Random::new(seed),
            flash,
            mirror,
            log,
            server,
            mirrored: Objects::new(),
            history: vec![None],
            synced: 0,
            cut: u64::MAX,
            compacted: false,
            clock: Clock::new(),
        }
    }

    async fn step(&mut self) -> Result<(), Error> {
        let known = self.history.last().is_some_and(Option::is_some);
        match self.random.below(10) {
            0 | 1 => {
                for _ in 0..3 {
                    self.server.change(&mut self.random);
                }
            }
            2..=4 if known => {
                let mut writer = self.log.writer_wait().await;
                while let Some((key, version, value)) = self.server.peek() {
                    match value {
                        Some(value) => drop(self.mirrored.insert(key, value)),
                        None => drop(self.mirrored.remove(&key)),
                    }
                    self.history.push(Some((version, self.mirrored.clone())));
                    self.server.deliver(&mut writer)?;
                }
            }
            5 | 6 => {
                let mut writer = self.log.writer_wait().await;
                self.mirrored = self.server.objects.clone();
                let now = Some((self.server.version, self.mirrored.clone()));
                self.history.push(now);
                self.server.list(&mut writer).await?;
                // An unchanged list writes nothing and is not told.
                if self.log.complete() != Some(ResourceVersion(self.server.version)) {
                    self.history.pop();
                }
            }
            7 => {
                let mut writer = self.log.writer_wait().await;
                writer.begin(None)?;
                self.server.items(&mut writer, 6).await?;
                // Enough to have a batch written that is then cut off.
                let key = ObjectKey::new("default", "large");
                let version = ResourceVersion(self.server.version + 1);
                writer.item(&key, version, true, &[b'{'; 70_000]).await?;
            }
            8 if self.random.below(8) == 0 => {
                self.server.version += 10;
                self.server.forget_pending();
                self.log.writer_wait().await.reset()?;
                self.history.push(None);
                self.synced = 0;
            }
            _ => {
                let now = self.clock.after(1);
                let bytes = self.log.file_bytes();
                self.mirror.tend(now).await;
                self.compacted |= self.log.file_bytes() < bytes;
                if self.log.is_gone() {
                    return Err(Error::Gone);
                }
                if self.flash.operations() <= self.cut {
                    self.synced = self.history.len() - 1;
                }
            }
        }
        Ok(())
    }

    /// What is found on `flash` must be of the history, and no older than what was synced. The node then goes on.
    async fn found(&self, flash: &Memory, what: &str) {
        let mirror = testing::open(flash);
        let name = self.log.name().clone();
        let content = match mirror.find(&name) {
            Some(log) => testing::content(&log).expect("readable"),
            None => None,
        };
        let allowed = &self.history[self.synced..];
        assert!(
            allowed.contains(&content),
            "{what}: C {:?} is not one of {:?}",
            content.as_ref().map(|(version, _)| version),
            allowed
                .iter()
                .map(|state| state.as_ref().map(|(version, _)| version))
                .collect::<Vec<_>>()
        );
        let log = mirror.ensure(&name, Duration::ZERO).expect("a log");
        let mut writer = log.writer_wait().await;
        let mut server = self.server.clone();
        server.list(&mut writer).await.expect("the next list");
        let (_, objects) = testing::content(&log).expect("readable").expect("complete");
        assert_eq!(objects, server.objects);
        // The power goes once more, before anything of that is synced.
        let again = flash.after_power_cut(&mut Random::new(flash.operations()));
        let found = testing::open(&again).find(&name);
        let found = found.and_then(|log| testing::content(&log).expect("readable"));
        let objects = found.as_ref().map(|(_, objects)| objects);
        let before = content.as_ref().map(|(_, objects)| objects);
        assert!(
            objects == before || objects == Some(&server.objects),
            "{what}, again"
        );
    }
}

/// Runs a script once to count its operations on the flash, then again and again with the power going at each of them,
/// or at so many. Whether the script had a compaction.
fn power_cuts(resource: &'static str, seed: u64, size: usize, steps: usize, cuts: usize) -> bool {
    smol::block_on(async {
        let mut whole = Scene::new(resource, seed, size);
        for _ in 0..steps {
            whole.step().await.expect("nothing fails");
        }
        let operations = whole.flash.operations();
        let every = (operations as usize / cuts).max(1);
        for cut in (0..operations).step_by(every) {
            let mut scene = Scene::new(resource, seed, size);
            scene.flash.cut_at(Some(cut));
            scene.cut = cut;
            for _ in 0..steps {
                if scene.step().await.is_err() || scene.flash.operations() > cut {
                    break;
                }
            }
            for torn in 0..4 {
                let found = scene.flash.after_power_cut(&mut Random::new(cut + torn));
                let what = format!("{resource} seed {seed} cut at {cut} torn {torn}");
                scene.found(&found, &what).await;
            }
        }
        whole.compacted
    })
}

#[test]
fn after_a_power_cut_at_any_operation_a_state_stands_that_was_there() {
    for resource in RESOURCES {
        for seed in 0..10 {
            power_cuts(resource, seed, 300, 60, usize::MAX);
        }
    }
}

#[test]
fn after_a_power_cut_around_a_compaction_a_state_stands_that_was_there() {
    for resource in RESOURCES {
        let seeds = (50..58).filter(|seed| power_cuts(resource, *seed, 24_000, 200, 40));
        assert!(seeds.count() > 2, "most of them compact");
    }
}

#[test]
fn a_killed_process_loses_nothing_that_was_written() {
    for seed in 100..130 {
        smol::block_on(async {
            let resource = RESOURCES[seed as usize % 2];
            let mut scene = Scene::new(resource, seed, 300);
            for _ in 0..40 {
                scene.step().await.expect("nothing fails");
                scene.synced = scene.history.len() - 1;
                scene.found(&scene.flash.after_kill(), "kill").await;
            }
        });
    }
}

/// A scene with events, lists and marks in a single small file, and that file.
fn small_file(resource: &'static str) -> (Scene, String, Vec<u8>) {
    let mut scene = Scene::new(resource, 4, 40);
    smol::block_on(async {
        for _ in 0..40 {
            scene.step().await.expect("nothing fails");
        }
    });
    let name = scene.log.file_name.clone();
    let bytes = scene.flash.bytes(&name).expect("a file");
    assert!(scene.history.len() > 8 && bytes.len() < 20_000);
    scene.synced = 0;
    (scene, name, bytes)
}

#[test]
fn a_file_cut_at_any_byte_holds_a_state_that_was_there() {
    for resource in RESOURCES {
        let (scene, name, bytes) = small_file(resource);
        for len in 0..bytes.len() {
            let flash = Memory::default();
            flash.put(&name, &bytes[..len]);
            smol::block_on(scene.found(&flash, &format!("{len} bytes of {resource}")));
        }
    }
}

#[test]
fn a_byte_changed_anywhere_is_never_served() {
    for resource in RESOURCES {
        let (scene, name, bytes) = small_file(resource);
        let mut random = Random::new(1);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << random.below(8);
            let flash = Memory::default();
            flash.put(&name, &changed);
            smol::block_on(scene.found(&flash, &format!("byte {at} of {resource}")));
        }
    }
}

#[test]
fn what_changed_before_a_mark_is_damage_and_behind_the_last_one_a_torn_end() {
    let (scene, name, bytes) = small_file(RESOURCES[0]);
    let vouched = crate::wire::record::vouched(&bytes).expect("a mark") as usize;
    let mut known = 0;
    for at in 8..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        let flash = Memory::default();
        flash.put(&name, &changed);
        let log = testing::open(&flash).find(scene.log.name());
        if at < vouched {
            assert!(log.is_none(), "byte {at} was safe");
            assert!(flash.list_names().is_empty(), "the file is gone");
        } else {
            known += usize::from(log.is_some());
        }
    }
    assert!(known > 0);
}

#[test]
fn bytes_that_change_under_a_running_node_are_noticed_by_the_first_reader() -> Result<(), Error> {
    smol::block_on(async {
        let mut scene = Scene::new(RESOURCES[1], 1, 300);
        scene.server.change(&mut scene.random);
        scene
            .server
            .list(&mut scene.log.writer_wait().await)
            .await?;
        let mut cursor = scene
            .log
            .cursor(ResourceVersion(scene.server.version))
            .expect("C");
        let (key, _) = scene.server.objects.first_key_value().expect("one");
        let key = ObjectKey::parse(key).expect("a key");
        let at = scene
            .flash
            .bytes(&scene.log.file_name)
            .expect("a file")
            .len()
            - 40;
        let file = crate::io::flash::Flash::open(&scene.flash, &scene.log.file_name)?;
        file.write_at(b"?", at as u64)?;
        assert!(matches!(scene.log.lookup(&key), Err(Error::Damaged { .. })));
        assert!(scene.mirror.find(scene.log.name()).is_none());
        assert!(matches!(cursor.next()?, crate::state::mirror::Next::Reset));
        Ok(())
    })
}

#[test]
fn what_cannot_be_written_leaves_the_collection_as_it_was_and_the_others_alone() {
    smol::block_on(async {
        for during_list in [false, true] {
            let flash = Memory::default();
            let mirror = testing::open(&flash);
            let (bad, good) = (testing::collection("pods"), testing::collection("nodes"));
            let mut server = Server::new(1);
            let mut random = Random::new(2);
            server.change(&mut random);
            let mut logs = Vec::new();
            for name in [&bad, &good] {
                let log = mirror.ensure(name, Duration::ZERO).expect("a log");
                let mut writer = log.writer_wait().await;
                server.clone().list(&mut writer).await.expect("a list");
                drop(writer);
                logs.push(log);
            }
            server.forget_pending();
            let was = testing::content(&logs[0]).expect("readable");
            let mut cursor = logs[0]
                .cursor(logs[0].complete().expect("complete"))
                .expect("C");
            flash.fail(Some(&logs[0].file_name));
            let mut writers = (logs[0].writer_wait().await, logs[1].writer_wait().await);
            server.change(&mut random);
            let before = server.clone();
            let failed = if during_list {
                server.clone().list(&mut writers.0).await.map(drop)
            } else {
                server.clone().deliver(&mut writers.0).map(drop)
            };
            assert!(matches!(failed, Err(Error::Io(_))));
            assert!(
                before.clone().deliver(&mut writers.0).is_err(),
                "an event is missing"
            );
            before
                .clone()
                .deliver(&mut writers.1)
                .expect("the other stands");
            assert!(mirror.find(&good).is_some());
            let next = cursor.next().expect("readable");
            assert!(matches!(next, crate::state::mirror::Next::Reset));
            assert_eq!(testing::content(&logs[0]).expect("readable"), was);
            assert_eq!(mirror.stats().failing, 1, "the cut fails too");
            let again = testing::open(&flash.after_kill());
            let found = again.find(&bad).expect("still known");
            assert_eq!(testing::content(&found).expect("readable"), was);
            drop(writers);
            // The medium works again; who starts anew finds all of it.
            flash.fail(None);
            let again = testing::open(&flash);
            let log = again.ensure(&bad, Duration::ZERO).expect("the log");
            assert_eq!(testing::content(&log).expect("readable"), was);
            let mut writer = log.writer_wait().await;
            server.list(&mut writer).await.expect("a list");
            assert_ne!(testing::content(&log).expect("readable"), was);
            assert_eq!(again.stats().failing, 0);
        }
    });
}

#[test]
fn after_a_failed_sync_everything_is_written_again_and_a_failed_compaction_changes_nothing() {
    smol::block_on(async {
        let mut scene = Scene::new(RESOURCES[1], 3, 30_000);
        scene.server.change(&mut scene.random);
        scene
            .server
            .list(&mut scene.log.writer_wait().await)
            .await
            .expect("a list");
        scene.mirror.tend(scene.clock.after(1)).await;
        let stem = scene.log.file_name.strip_suffix(".log").expect("a log");
        scene.flash.fail(Some(&format!("{stem}.new")));
        for _ in 0..20 {
            scene.server.change(&mut scene.random);
            scene
                .server
                .list(&mut scene.log.writer_wait().await)
                .await
                .expect("a list");
            scene.mirror.tend(scene.clock.after(1)).await;
        }
        assert!(scene.mirror.find(scene.log.name()).is_some());
        scene.flash.fail(None);
        let mut largest = 0;
        while scene.log.file_bytes() >= largest {
            largest = scene.log.file_bytes();
            assert!(largest < 3_000_000, "it is tried again");
            scene.server.change(&mut scene.random);
            scene
                .server
                .list(&mut scene.log.writer_wait().await)
                .await
                .expect("a list");
            scene.mirror.tend(scene.clock.after(1)).await;
        }
        scene.flash.fail(Some(&scene.log.file_name));
        scene.mirror.close().await.expect("all is synced");
        scene.flash.fail(None);
        scene.server.change(&mut scene.random);
        scene
            .server
            .list(&mut scene.log.writer_wait().await)
            .await
            .expect("a list");
        let content = testing::content(&scene.log).expect("readable");
        let generation = scene.log.state().generation;
        scene.flash.fail(Some(&scene.log.file_name));
        scene.mirror.tend(scene.clock.after(1)).await;
        assert!(scene.log.is_failing());
        assert_eq!(testing::content(&scene.log).expect("readable"), content);
        scene.flash.fail(None);
        scene.mirror.tend(scene.clock.after(1)).await;
        assert_ne!(scene.log.state().generation, generation, "written again");
        assert!(!scene.log.is_failing());
        scene.mirror.tend(scene.clock.after(1)).await;
        let again = testing::open(&scene.flash.after_power_cut(&mut scene.random));
        let log = again.find(scene.log.name()).expect("known");
        assert_eq!(testing::content(&log).expect("readable"), content);
    });
}
