//! The one hand that feeds a log: the events of the watch here, lists in `staging`.

use std::rc::Rc;

use crate::k8s::object::ObjectKey;
use crate::k8s::object::ResourceVersion;
use crate::state::mirror::Error;
use crate::state::mirror::TypeMeta;
use crate::state::mirror::log::Log;
use crate::state::mirror::staging::MAX_OBJECT;
use crate::state::mirror::staging::Staging;
use crate::wire::record;
use crate::wire::record::Item;
use crate::wire::record::Place;
use crate::wire::record::Record;

/// Writes to one log. Dropping it lets the next one in.
pub struct Writer {
    pub(crate) log: Rc<Log>,
    pub(crate) staging: Option<Staging>,
    /// Reused for events.
    buffer: Vec<u8>,
    /// An event is missing: only a list can make the log whole again.
    pub(crate) failed: bool,
}

impl Log {
    /// The writer; none while another one holds it.
    pub fn writer(self: &Rc<Self>) -> Option<Writer> {
        (!self.writing.replace(true)).then(|| Writer {
            log: Rc::clone(self),
            staging: None,
            buffer: Vec::new(),
            failed: false,
        })
    }

    /// The writer, once it is free.
    pub async fn writer_wait(self: &Rc<Self>) -> Writer {
        loop {
            let released = self.released.wait();
            if let Some(writer) = self.writer() {
                return writer;
            }
            released.await;
        }
    }
}

impl Writer {
    /// The log it writes to.
    pub fn log(&self) -> &Rc<Log> {
        &self.log
    }

    /// An event of the watch: an object is there, new or changed. One that is in the last list already, or is not newer
    /// than what is stored, is passed over.
    pub fn put(
        &mut self,
        key: &ObjectKey,
        version: ResourceVersion,
        typed: bool,
        object: &[u8],
    ) -> Result<(), Error> {
        self.event(key, version, typed, object, false)
    }

    /// An event of the watch: an object is gone. `object` is as the event carries it, at the version of the deletion.
    pub fn delete(
        &mut self,
        key: &ObjectKey,
        version: ResourceVersion,
        typed: bool,
        object: &[u8],
    ) -> Result<(), Error> {
        self.event(key, version, typed, object, true)
    }

    /// An object of a log that counts its own versions, because no server does: at the next one. The first one begins the log.
    pub async fn add(
        &mut self,
        of: &TypeMeta,
        key: &ObjectKey,
        object: &[u8],
    ) -> Result<(), Error> {
        if self.log.complete().is_none() {
            self.begin(Some(of))?;
            self.commit(ResourceVersion(1), of).await?;
        }
        self.put(key, self.following(), false, object)
    }

    /// Takes an object out of such a log, if it is there.
    pub fn take_out(&mut self, key: &ObjectKey) -> Result<(), Error> {
        match self.log.version_of(key.as_str()) {
            Some(_) => self.delete(key, self.following(), false, b""),
            None => Ok(()),
        }
    }

    fn following(&self) -> ResourceVersion {
        let ResourceVersion(last) = self.log.complete().unwrap_or_default();
        ResourceVersion(last.saturating_add(1))
    }

    /// Nothing more happened up to this version (a bookmark). It is remembered, not written.
    pub fn advance(&mut self, version: ResourceVersion) {
        let mut state = self.log.state();
        if state.complete.is_some() && !self.failed {
            state.ahead = state.ahead.max(Some(version.0));
        }
    }

    /// A new epoch: everything is forgotten, readers must start anew, and the next list may be at any version.
    pub fn reset(&mut self) -> Result<(), Error> {
        self.roll_back();
        let mut state = self.log.state();
        if state.gone {
            return Err(Error::Gone);
        }
        self.log.clear(&mut state);
        self.log.shared.work.notify();
        Ok(())
    }

    fn event(
        &mut self,
        key: &ObjectKey,
        version: ResourceVersion,
        typed: bool,
        object: &[u8],
        deleted: bool,
    ) -> Result<(), Error> {
        let (key, version) = (key.as_str(), version.0);
        let mut state = self.log.state();
        if state.gone {
            return Err(Error::Gone);
        }
        if self.staging.is_some() || self.failed {
            return Err(Error::OutOfTurn);
        }
        if state.complete.is_none() {
            return Err(Error::Incomplete);
        }
        let stored = state.index.find(key).map(|e| (e.version, e.place));
        let stale = match stored {
            // Some servers delete at the version of the object itself.
            Some((stored, _)) if deleted => version < stored,
            Some((stored, _)) => version <= stored,
            None => deleted,
        };
        if stale || version <= state.listed {
            state.ahead = state.ahead.max(Some(version));
            return Ok(());
        }
        if object.len() > MAX_OBJECT {
            // Later events would claim a version that this one is missing from.
            return Err(self.log.lose(&mut state, Error::TooLong));
        }
        let item = Item {
            key,
            version,
            typed,
            staged: false,
            previous: stored.map(|(_, place)| place),
            object,
        };
        self.buffer.clear();
        self.log.mark(&state, &mut self.buffer)?;
        let sealed = self.log.seal(&item)?;
        let item = Item {
            object: &sealed,
            ..item
        };
        let record = if deleted {
            Record::Delete(item)
        } else {
            Record::Put(item)
        };
        let place = record::append(&mut self.buffer, &record)?;
        let place = Place {
            offset: state.end.saturating_add(place.offset),
            ..place
        };
        if let Err(error) = self.log.append(&mut state, &self.buffer) {
            self.failed = true;
            return Err(error);
        }
        state.marked = state.synced;
        if deleted {
            state.index.delete(key, version, place);
        } else {
            state.index.put(key, version, place);
        }
        state.complete = state.complete.max(Some(version));
        drop(state);
        // A rare large object must not hold its memory for the rest of a quiet watch.
        // There is a writer for each watched collection, and most are silent most of the time.
        self.buffer = Vec::new();
        self.log.changed.notify();
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.roll_back();
        self.log.writing.set(false);
        self.log.released.notify();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::flash::memory::Memory;
    use crate::state::mirror::testing;
    use crate::state::mirror::testing::Clock;

    #[test]
    fn an_event_costs_a_fifth_more_than_its_bytes_and_64() {
        smol::block_on(async {
            let (mirror, log) = testing::filled(&Memory::default(), 20, 10).await;
            log.fresh(1_790_000_000);
            let mut writer = log.writer().expect("free");
            let key = ObjectKey::new("kube-system", "extension-apiserver-authentication");
            let mut clock = Clock::new();
            for (version, size) in (1 << 32..).zip([300, 301, 302, 150, 3_000]) {
                // Synced each time, so that each pays for a mark too.
                mirror.tend(clock.after(1)).await;
                let object = vec![b' '; size];
                let before = mirror.stats().written_bytes;
                let put = writer.put(&key, ResourceVersion(version), false, &object);
                put.expect("an event");
                let cost = (mirror.stats().written_bytes - before) as usize;
                assert!(cost <= size * 6 / 5 + 64, "{cost} for {size}");
            }
        });
    }

    #[test]
    fn events_that_are_known_already_are_passed_over() {
        smol::block_on(async {
            let (mirror, log) = testing::filled(&Memory::default(), 5, 10).await;
            let mut writer = log.writer().expect("free");
            testing::put(&mut writer, 2, 7, 10);
            let before = mirror.stats().written_bytes;
            for (number, version) in [(2, 7), (2, 6), (9, 5), (1, 1)] {
                testing::put(&mut writer, number, version, 10);
            }
            testing::delete(&mut writer, 2, 6);
            testing::delete(&mut writer, 1, 5);
            assert_eq!(mirror.stats().written_bytes, before);
            testing::delete(&mut writer, 77, 9);
            assert_eq!(mirror.stats().written_bytes, before, "it was never there");
            assert_eq!(log.ahead(), Some(ResourceVersion(9)));
            assert_eq!((log.len(), log.complete()), (5, Some(ResourceVersion(7))));
            testing::delete(&mut writer, 2, 7);
            assert_eq!(
                log.len(),
                4,
                "some servers delete at the object's own version"
            );
        });
    }

    #[test]
    fn a_bookmark_is_remembered_and_goes_to_flash_only_when_the_mirror_is_closed() {
        smol::block_on(async {
            let flash = Memory::default();
            let (mirror, log) = testing::filled(&flash, 5, 10).await;
            mirror.tend(Clock::new().0).await;
            let operations = flash.operations();
            let mut writer = log.writer().expect("free");
            writer.advance(ResourceVersion(50));
            writer.advance(ResourceVersion(40));
            mirror.tend(Clock::new().0).await;
            assert_eq!(flash.operations(), operations);
            assert_eq!(log.complete(), Some(ResourceVersion(5)));
            assert_eq!(log.ahead(), Some(ResourceVersion(50)));
            let mut cursor = log.cursor(ResourceVersion(5)).expect("C");
            assert_eq!(cursor.version(), ResourceVersion(5));
            mirror.close().await.expect("synced");
            assert_eq!(log.complete(), Some(ResourceVersion(50)));
            assert!(matches!(
                cursor.next(),
                Ok(crate::state::mirror::Next::Idle)
            ));
            assert_eq!(cursor.version(), ResourceVersion(50));
            let operations = flash.operations();
            mirror.close().await.expect("nothing to do");
            assert_eq!(flash.operations(), operations);
            let log = testing::open(&flash).find(log.name()).expect("complete");
            assert_eq!(log.complete(), Some(ResourceVersion(50)));
        });
    }

    #[test]
    fn an_event_that_cannot_be_kept_loses_the_log_rather_than_being_missing_from_it() {
        smol::block_on(async {
            let (mirror, log) = testing::filled(&Memory::default(), 5, 10).await;
            let mut writer = log.writer().expect("free");
            let large = vec![b' '; MAX_OBJECT + 1];
            let put = writer.put(&testing::key(1), ResourceVersion(6), false, &large);
            assert!(matches!(put, Err(Error::TooLong)));
            assert!(mirror.find(log.name()).is_none());
        });
    }

    #[test]
    fn one_writer_at_a_time_and_the_next_one_waits() {
        smol::block_on(async {
            let (_mirror, log) = testing::filled(&Memory::default(), 1, 10).await;
            let first = log.writer().expect("free");
            let mut second = std::pin::pin!(log.writer_wait());
            assert!(smol::future::poll_once(&mut second).await.is_none());
            drop(first);
            let second = second.await;
            assert!(log.writer().is_none());
            drop(second);
            assert!(log.writer().is_some());
        });
    }
}
