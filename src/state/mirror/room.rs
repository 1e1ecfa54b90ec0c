//! Room on flash: how much all collections may hold, and who leaves first.
//!
//! The cap is on what is committed. While a list is taken in, it may use half as much again beside the old state of its
//! collection; no other one leaves for it before it is whole, so a list that is too large passes by without harm. One
//! collection gets half of the cap at the most. A compaction needs room for what lives of one collection, for its time.

use std::rc::Rc;

use crate::k8s::order;
use crate::rule::retention;
use crate::state::mirror::Mirror;
use crate::state::mirror::Shared;
use crate::state::mirror::log::Log;

impl Shared {
    /// How many bytes one collection's file may have.
    pub(crate) fn share(&self) -> u64 {
        self.cap / 2
    }

    /// Whether the file of `log` may grow to `size` bytes. Others leave for it if they must; who is at least as important
    /// and in use does not.
    pub(crate) fn room(&self, log: &Log, size: u64) -> bool {
        if size > self.share() {
            return false;
        }
        self.mirror
            .upgrade()
            .is_none_or(|mirror| mirror.make_room(log, size))
    }
}

impl Mirror {
    fn make_room(&self, log: &Log, size: u64) -> bool {
        let mut others: Vec<Rc<Log>> = {
            let logs = self.logs.borrow();
            let others = logs.iter().filter(|other| !std::ptr::eq(&***other, log));
            others.cloned().collect()
        };
        let held: u64 = others.iter().map(|other| other.file_bytes()).sum();
        let Some(mut excess) = held
            .saturating_add(size)
            .checked_sub(self.shared.cap)
            .filter(|excess| *excess > 0)
        else {
            return true;
        };
        let rank = rank(log);
        others.retain(|other| {
            other.file_bytes() > 0 && self::rank(other) + u8::from(other.is_writing()) <= rank
        });
        order::by_key(&mut others, |other| {
            (self::rank(other), other.is_writing(), other.used.get())
        });
        let leaving = others.iter().map(|other| other.file_bytes()).sum::<u64>();
        if leaving < excess {
            return false;
        }
        for other in others {
            if excess == 0 {
                break;
            }
            excess = excess.saturating_sub(other.file_bytes());
            ::log::info!("mirror: collection={} leaves for {}", other.name, log.name);
            self.shared
                .evicted
                .set(self.shared.evicted.get().wrapping_add(1));
            self.forget(&other.name);
        }
        true
    }
}

/// Even, so that who is in use counts as half a rank more.
fn rank(log: &Log) -> u8 {
    let resource = &log.name.resource;
    match resource.resource.as_str() {
        retention::TOKENS => 4,
        _ => 2 * u8::from(retention::critical(resource)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::io::flash::memory::Memory;
    use crate::k8s::object::ObjectKey;
    use crate::k8s::object::ResourceVersion;
    use crate::state::mirror::Error;
    use crate::state::mirror::Options;
    use crate::state::mirror::testing;

    const CAP: u64 = 100_000;

    fn small(flash: &Memory) -> Rc<Mirror> {
        let options = Options {
            sync_window: Duration::ZERO,
            stamp: |_, _| None,
            same: |_, _| true,
            cap: CAP,
        };
        Mirror::open(Arc::new(flash.clone()), options, testing::seal_key()).expect("a folder")
    }

    /// Lists a collection of one object of `size` bytes.
    async fn fill(mirror: &Mirror, resource: &str, size: usize) -> Result<(), Error> {
        let name = testing::collection(resource);
        let log = mirror.ensure(&name, Duration::ZERO)?;
        let mut writer = log.writer_wait().await;
        let version = ResourceVersion(log.complete().map_or(1, |complete| complete.0 + 1));
        let key = ObjectKey::new("", "one");
        writer.begin(None)?;
        let object = testing::object(&key, version.0, size);
        writer.item(&key, version, true, &object).await?;
        writer.commit(version, &testing::type_meta()).await?;
        Ok(())
    }

    fn known(mirror: &Mirror) -> Vec<&'static str> {
        let all = ["pods", "a", "b", "c", "secrets"];
        let held = all.into_iter().filter(|resource| {
            let logs = mirror.logs.borrow();
            let log = logs.find(&testing::collection(resource));
            log.is_some_and(|log| log.file_bytes() > 0)
        });
        held.collect()
    }

    #[test]
    fn who_was_asked_for_least_recently_leaves_first_and_what_a_node_needs_last() {
        smol::block_on(async {
            let mirror = small(&Memory::default());
            for resource in ["pods", "a", "b"] {
                fill(&mirror, resource, 30_000).await.expect("room");
            }
            assert!(mirror.find(&testing::collection("a")).is_some());
            fill(&mirror, "c", 30_000).await.expect("b left");
            assert_eq!(known(&mirror), ["pods", "a", "c"]);
            fill(&mirror, "secrets", 45_000)
                .await
                .expect("a and c left");
            assert_eq!(known(&mirror), ["pods", "secrets"]);
            // Nobody of no importance drives out what a node needs.
            let refused = fill(&mirror, "a", 40_000).await;
            assert!(matches!(refused, Err(Error::Full)));
            assert_eq!(known(&mirror), ["pods", "secrets"]);
            assert_eq!(mirror.stats().evicted, 3);
            assert!(mirror.stats().file_bytes <= CAP);
        });
    }

    #[test]
    fn a_list_that_is_too_large_harms_nobody_and_leaves_its_own_collection_as_it_was() {
        smol::block_on(async {
            let flash = Memory::default();
            let mirror = small(&flash);
            for resource in ["a", "b"] {
                fill(&mirror, resource, 10_000).await.expect("room");
            }
            let name = testing::collection("b");
            let was = mirror.find(&name).map(|log| log.complete());
            let refused = fill(&mirror, "b", 60_000).await;
            assert!(matches!(refused, Err(Error::Full)));
            assert_eq!(mirror.find(&name).map(|log| log.complete()), was);
            assert_eq!(known(&mirror), ["a", "b"]);
            let again = small(&flash.after_kill());
            assert_eq!(again.find(&name).map(|log| log.complete()), was);
        });
    }

    #[test]
    fn a_collection_that_is_watched_stays_and_one_that_outgrows_its_share_stops_growing() {
        smol::block_on(async {
            let mirror = small(&Memory::default());
            for resource in ["a", "b"] {
                fill(&mirror, resource, 40_000).await.expect("room");
            }
            let log = mirror.find(&testing::collection("a")).expect("complete");
            let watched = log.writer().expect("free");
            assert!(matches!(fill(&mirror, "c", 30_000).await, Ok(())));
            assert_eq!(known(&mirror), ["a", "c"]);
            drop(watched);
            let log = mirror.find(&testing::collection("c")).expect("complete");
            let mut writer = log.writer().expect("free");
            let key = ObjectKey::new("", "two");
            let large = testing::object(&key, 9, 15_000);
            let version = ResourceVersion(9);
            writer.put(&key, version, true, &large).expect("room");
            let version = ResourceVersion(10);
            let full = writer.put(&key, version, true, &large);
            assert!(matches!(full, Err(Error::Full)));
            assert_eq!(log.complete(), Some(ResourceVersion(9)));
            assert_eq!(log.len(), 2);
        });
    }

    #[test]
    fn a_power_cut_at_any_moment_of_evictions_leaves_states_that_were_there() {
        const RESOURCES: [&str; 6] = ["pods", "a", "b", "c", "secrets", "a"];
        /// Lists until the power goes; what each collection held when.
        async fn life(flash: &Memory) -> Vec<(String, u64, testing::Objects)> {
            let mirror = small(flash);
            let mut states = Vec::new();
            for (round, resource) in RESOURCES.iter().cycle().take(14).enumerate() {
                let size = 14_000 + 700 * round;
                if fill(&mirror, resource, size).await.is_err() {
                    continue;
                }
                mirror.tend(std::time::Instant::now()).await;
                for log in mirror.logs() {
                    if let Ok(Some((version, objects))) = testing::content(&log) {
                        states.push((log.name().resource.resource.clone(), version, objects));
                    }
                }
            }
            states
        }
        smol::block_on(async {
            let whole = Memory::default();
            let states = life(&whole).await;
            assert!(states.len() > 20);
            let mut random = crate::io::flash::memory::Random::new(7);
            let mut known = 0;
            for cut in 0..whole.operations() {
                let flash = Memory::default();
                flash.cut_at(Some(cut));
                life(&flash).await;
                let again = small(&flash.after_power_cut(&mut random));
                for log in again.logs() {
                    let name = log.name().clone();
                    let Some(log) = again.find(&name) else {
                        continue;
                    };
                    let found = testing::content(&log).expect("readable");
                    let (version, objects) = found.expect("complete");
                    let state = (name.resource.resource.clone(), version, objects);
                    assert!(
                        states.contains(&state),
                        "cut at {cut}: {} {version}",
                        state.0
                    );
                    known += 1;
                }
            }
            assert!(known > 20, "{known}");
        });
    }
}
