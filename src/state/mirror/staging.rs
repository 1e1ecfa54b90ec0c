//! Taking in a list.
//!
//! Items that are known already at their version write nothing, the others go to the file in batches behind the
//! committed part. `commit` adds what is missing from the list as deletions, then `Complete`; from then on it counts,
//! at once and as a whole. A writer that is dropped before that, or a `commit` that is, leaves the log as it was: the
//! file is cut back. A batch may be on its way to the worker when that happens; the gate sees to it that it is written
//! before the cut or never.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::io::worker;
use crate::k8s::encoding::Encoding;
use crate::k8s::object::ObjectKey;
use crate::k8s::object::ResourceVersion;
use crate::k8s::order;
use crate::state::mirror::Error;
use crate::state::mirror::TypeMeta;
use crate::state::mirror::Writer;
use crate::state::mirror::index::Entry;
use crate::state::mirror::log::Log;
use crate::state::mirror::state::State;
use crate::wire::record;
use crate::wire::record::FRAME_HEAD;
use crate::wire::record::Head;
use crate::wire::record::Item;
use crate::wire::record::MAGIC;
use crate::wire::record::Place;
use crate::wire::record::Record;

/// How much of a list is gathered before it goes to the worker.
pub(crate) const BATCH: usize = 64 * 1024;

/// The largest object.
pub(crate) const MAX_OBJECT: usize = 8 * 1024 * 1024;

/// What a list changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Objects that are new or different.
    pub puts: usize,
    /// Objects that are gone.
    pub deletes: usize,
    /// The list contradicts what was known: an object up to C is not the one that was known at C, so the server's
    /// history is another one. Cursors were reset.
    pub reset: bool,
}

/// A list that is being taken in.
pub(crate) struct Staging {
    epoch: u32,
    gate: Arc<Mutex<bool>>,
    /// Frames that are not written yet, and where they go.
    buffer: Vec<u8>,
    at: u64,
    /// `Begin` is in the buffer or in the file.
    open: bool,
    /// A batch was handed over, so there may be bytes beyond the committed part.
    written: bool,
    /// A batch was handed over and its outcome is not known.
    pending: bool,
    /// Which entries of the index were in the list.
    seen: Vec<bool>,
    puts: Vec<Entry>,
    /// Which entries were deleted and made again, and the version of what is there now.
    anew: Vec<(usize, u64)>,
    deletes: Vec<Entry>,
    type_meta: Option<TypeMeta>,
    contradicts: bool,
    check: u32,
}

impl Writer {
    /// A list starts. One that was not committed is given up.
    pub fn begin(&mut self, type_meta: Option<&TypeMeta>) -> Result<(), Error> {
        self.roll_back();
        let state = self.log.state();
        if state.gone {
            return Err(Error::Gone);
        }
        self.failed = false;
        self.staging = Some(Staging {
            epoch: state.epoch,
            gate: Arc::new(Mutex::new(true)),
            buffer: Vec::new(),
            at: 0,
            open: false,
            written: false,
            pending: false,
            seen: vec![false; state.index.entries().len()],
            puts: Vec::new(),
            anew: Vec::new(),
            deletes: Vec::new(),
            type_meta: type_meta.cloned(),
            contradicts: false,
            check: 0,
        });
        Ok(())
    }

    /// An item of the list. It waits for the flash when a batch is full. One that is too large, or an error, ends the
    /// list: it could not be complete any more.
    pub async fn item(
        &mut self,
        key: &ObjectKey,
        version: ResourceVersion,
        typed: bool,
        object: &[u8],
    ) -> Result<(), Error> {
        let full = {
            let mut state = self.log.state();
            let staging = usable(&mut self.staging, &state)?;
            if object.len() > MAX_OBJECT {
                staging.pending = true;
                return Err(Error::TooLong);
            }
            let mut previous = None;
            if let Ok(at) = state.index.position(key.as_str())
                && let Some(entry) = state.index.entries().get(at)
            {
                if let Some(seen) = staging.seen.get_mut(at) {
                    *seen = true;
                }
                if entry.version == version.0 {
                    return Ok(());
                }
                let place = entry.place;
                let file = self.log.file(&mut state)?;
                let known = self.log.read(&mut state, &file, place)?;
                if (self.log.shared.same)(&known.object, object) {
                    previous = Some(place);
                } else {
                    staging.anew.push((at, version.0));
                }
            }
            staging.contradicts |= state.complete.is_some_and(|c| version.0 <= c);
            let item = Item {
                key: key.as_str(),
                version: version.0,
                typed,
                staged: true,
                previous,
                object,
            };
            let place = staging.stage(&self.log, &mut state, &Record::Put(item))?;
            staging.puts.push(Entry {
                key: key.as_str().into(),
                version: version.0,
                place,
            });
            staging.buffer.len() >= BATCH
        };
        if full { self.flush().await } else { Ok(()) }
    }

    /// An item of the list that is, byte for byte, the object of the log that so many others are before.
    pub fn unchanged(&mut self, at: usize) -> Result<(), Error> {
        let state = self.log.state();
        let staging = usable(&mut self.staging, &state)?;
        // Nobody else changes the entries while this writer lives.
        let seen = staging.seen.get_mut(at).ok_or(Error::OutOfTurn)?;
        *seen = true;
        Ok(())
    }

    /// The list ended well, at `version`. What it did not name is deleted. Visible as a whole, and written as far as it
    /// differs from what was known: a list without a difference writes nothing.
    pub async fn commit(
        &mut self,
        version: ResourceVersion,
        type_meta: &TypeMeta,
    ) -> Result<Changed, Error> {
        let missing: Vec<usize> = {
            let mut state = self.log.state();
            let staging = usable(&mut self.staging, &state)?;
            if let Some(complete) = state.complete.filter(|complete| *complete > version.0) {
                drop(state);
                self.roll_back();
                let complete = ResourceVersion(complete);
                return Err(Error::Behind { complete });
            }
            let seen = staging.seen.iter().enumerate();
            let missing: Vec<usize> = seen.filter(|(_, seen)| !**seen).map(|(at, _)| at).collect();
            let known = state.complete.is_some() && state.type_meta.as_ref() == Some(type_meta);
            if known && missing.is_empty() && !staging.open {
                state.listed = version.0;
                state.jumps = state.jumps.wrapping_add(1);
                state.ahead = state.ahead.max(Some(version.0));
                self.staging = None;
                return Ok(Changed::default());
            }
            missing
        };
        for (at, version) in self.deletions(missing, version)? {
            self.stage_deletion(at, version)?;
            if self
                .staging
                .as_ref()
                .is_some_and(|s| s.buffer.len() >= BATCH)
            {
                self.flush().await?;
            }
        }
        self.stage_end(version, type_meta)?;
        self.flush().await?;
        self.apply(version, type_meta)
    }

    /// What is gone, and the versions at which it is said to be: for what a list did not name the highest ones up to the
    /// list's that no object of the list has, in their order; for what was made anew the highest before that was.
    ///
    /// Each deletion had a version of its own between the last one known and the list's, which no object has; which it was
    /// the list does not tell. Two events of one version would not do: a client that left between them and came back at
    /// that version would never hear of the second. On a server that makes too few versions the rest are at the list's.
    fn deletions(
        &mut self,
        missing: Vec<usize>,
        version: ResourceVersion,
    ) -> Result<Vec<(usize, ResourceVersion)>, Error> {
        let state = self.log.state();
        let staging = usable(&mut self.staging, &state)?;
        // In order, to be looked through.
        let mut used: Vec<u64> = staging.puts.iter().map(|entry| entry.version).collect();
        order::natural(&mut used);
        let known = state.complete.unwrap_or(0);
        let mut deletions = Vec::new();
        for (at, made) in std::mem::take(&mut staging.anew) {
            let before = made.saturating_sub(1);
            let mut free = (known + 1..made).rev();
            let version = free
                .find(|version| used.binary_search(version).is_err())
                .unwrap_or(before);
            if let Err(at) = used.binary_search(&version) {
                used.insert(at, version);
            }
            deletions.push((at, ResourceVersion(version)));
        }
        let free = (known + 1..=version.0)
            .rev()
            .filter(|version| used.binary_search(version).is_err());
        let mut versions: Vec<u64> = free.take(missing.len()).collect();
        versions.reverse();
        versions.resize(missing.len(), version.0);
        let versions = versions.into_iter().map(ResourceVersion);
        deletions.extend(missing.into_iter().zip(versions));
        Ok(deletions)
    }

    /// Stages the deletion of the entry at `at`, with its last bytes at `version`.
    fn stage_deletion(&mut self, at: usize, version: ResourceVersion) -> Result<(), Error> {
        let mut state = self.log.state();
        let staging = usable(&mut self.staging, &state)?;
        // Nobody else changes the entries while this writer lives.
        let Some(entry) = state.index.entries().get(at) else {
            return Err(Error::OutOfTurn);
        };
        let (key, place) = (entry.key.clone(), entry.place);
        let file = self.log.file(&mut state)?;
        let stored = self.log.read(&mut state, &file, place)?;
        // An object without a version to replace is delivered as it was: that it is gone matters more.
        let stamped = (self.log.shared.stamp)(&stored.object, version);
        let item = Item {
            key: &key,
            version: version.0,
            typed: stored.typed,
            staged: true,
            previous: Some(place),
            object: stamped.as_deref().unwrap_or(&stored.object),
        };
        let place = staging.stage(&self.log, &mut state, &Record::Delete(item))?;
        staging.deletes.push(Entry {
            key,
            version: version.0,
            place,
        });
        Ok(())
    }

    /// Stages what closes a list.
    fn stage_end(&mut self, version: ResourceVersion, type_meta: &TypeMeta) -> Result<(), Error> {
        let mut state = self.log.state();
        let staging = usable(&mut self.staging, &state)?;
        staging.open(&self.log, &mut state)?;
        let known = staging.type_meta.as_ref().or(state.type_meta.as_ref());
        if known != Some(type_meta) {
            staging.append(&type_record(type_meta))?;
        }
        let version = version.0;
        if staging.contradicts {
            staging.append(&Record::Oldest { version })?;
        }
        let check = staging.check;
        staging.append(&Record::Complete { version, check })?;
        Ok(())
    }

    /// Makes a list count whose every byte is written.
    fn apply(&mut self, version: ResourceVersion, type_meta: &TypeMeta) -> Result<Changed, Error> {
        let mut state = self.log.state();
        let end = usable(&mut self.staging, &state)?.at;
        if !self.log.shared.room(&self.log, end) {
            return Err(Error::Full);
        }
        let Some(staging) = self.staging.take() else {
            return Err(Error::OutOfTurn);
        };
        let changed = Changed {
            puts: staging.puts.len(),
            deletes: staging.deletes.len(),
            reset: staging.contradicts,
        };
        let first = state.complete.is_none();
        state.index.merge(staging.puts, staging.deletes);
        if first || changed.reset {
            state.index.raise(version.0);
        }
        if changed.reset {
            ::log::warn!(
                "mirror: the server's history changed collection={}",
                self.log.name
            );
            state.epoch = state.epoch.wrapping_add(1);
        }
        (state.complete, state.listed) = (Some(version.0), version.0);
        state.jumps = state.jumps.wrapping_add(1);
        // Whatever was said to be ahead of a list that then differed, was said of another history.
        (state.ahead, state.staged) = (None, false);
        state.type_meta = Some(type_meta.clone());
        state.marked = state.synced;
        self.log.committed(&mut state, staging.at);
        drop(state);
        self.log.changed.notify();
        Ok(changed)
    }

    /// Hands the gathered frames to the worker and waits for it.
    async fn flush(&mut self) -> Result<(), Error> {
        let (file, frames, at, gate) = {
            let mut state = self.log.state();
            let staging = usable(&mut self.staging, &state)?;
            let file = if state.exists {
                self.log.file(&mut state)?
            } else {
                self.log.create(&mut state)?
            };
            if state.read_only {
                return Err(Error::ReadOnly);
            }
            if staging.at.saturating_add(staging.buffer.len() as u64) > self.log.shared.share() {
                return Err(Error::Full);
            }
            (staging.written, staging.pending) = (true, true);
            let frames = std::mem::take(&mut staging.buffer);
            (file, frames, staging.at, Arc::clone(&staging.gate))
        };
        let written = worker::run(move || {
            let open = gate.lock().unwrap_or_else(PoisonError::into_inner);
            let written = if *open {
                file.write_at(&frames, at)
            } else {
                Ok(())
            };
            (frames, written)
        });
        let (mut frames, written) = written.await;
        let mut state = self.log.state();
        written.map_err(|error| self.log.stall(&mut state, error.into()))?;
        let Some(staging) = self.staging.as_mut() else {
            return Err(Error::OutOfTurn);
        };
        self.log.count(frames.len());
        staging.at = staging.at.saturating_add(frames.len() as u64);
        frames.clear();
        frames.shrink_to(2 * BATCH);
        (staging.buffer, staging.pending) = (frames, false);
        Ok(())
    }

    /// Gives up a list that was not committed.
    pub(crate) fn roll_back(&mut self) {
        let Some(staging) = self.staging.take() else {
            return;
        };
        // Waits for a batch that is being written now; one that is not, will not be.
        *staging.gate.lock().unwrap_or_else(PoisonError::into_inner) = false;
        let mut state = self.log.state();
        if staging.open && !state.gone && state.epoch == staging.epoch {
            state.staged = false;
            if staging.written {
                self.log.cut(&mut state);
            }
            self.log.shared.work.notify();
        }
    }
}

impl Staging {
    /// Stages one record; where it will stand.
    fn stage(&mut self, log: &Log, state: &mut State, record: &Record<'_>) -> Result<Place, Error> {
        self.open(log, state)?;
        let (Record::Put(item) | Record::Delete(item)) = record else {
            return self.append(record);
        };
        let sealed = log.seal(item)?;
        let item = Item {
            object: &sealed,
            ..*item
        };
        self.append(&match record {
            Record::Delete(_) => Record::Delete(item),
            _ => Record::Put(item),
        })
    }

    /// Starts writing, with the first thing that differs.
    fn open(&mut self, log: &Log, state: &mut State) -> Result<(), Error> {
        if self.open {
            return Ok(());
        }
        self.at = state.end;
        if !state.exists {
            self.buffer.extend_from_slice(&MAGIC);
            record::append(&mut self.buffer, &Record::Head(Head::new(&log.name)))?;
            if let Some(sealed) = log.seal_record() {
                record::append(&mut self.buffer, &sealed)?;
            }
        }
        log.mark(state, &mut self.buffer)?;
        (self.open, state.staged) = (true, true);
        self.append(&Record::Begin)?;
        match self.type_meta.clone() {
            Some(meta) if state.type_meta.as_ref() != Some(&meta) => {
                self.append(&type_record(&meta)).map(drop)
            }
            _ => {
                self.type_meta = None;
                Ok(())
            }
        }
    }

    fn append(&mut self, record: &Record<'_>) -> Result<Place, Error> {
        let place = record::append(&mut self.buffer, record)?;
        let head = usize::try_from(place.offset)
            .ok()
            .and_then(|at| self.buffer.get(at..)?.first_chunk::<FRAME_HEAD>());
        if let Some(head) = head {
            self.check = record::fold(self.check, *head);
        }
        Ok(Place {
            offset: self.at.saturating_add(place.offset),
            ..place
        })
    }
}

/// The list that is being taken in, if one is, and if it can still become whole.
fn usable<'a>(staging: &'a mut Option<Staging>, state: &State) -> Result<&'a mut Staging, Error> {
    if state.gone {
        return Err(Error::Gone);
    }
    match staging {
        Some(staging) if !staging.pending && staging.epoch == state.epoch => Ok(staging),
        _ => Err(Error::OutOfTurn),
    }
}

fn type_record(type_meta: &TypeMeta) -> Record<'_> {
    Record::Type {
        kind: &type_meta.kind,
        api_version: &type_meta.api_version,
        typed: type_meta.typed,
        protobuf: type_meta.encoding == Encoding::Protobuf,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::flash::memory::Memory;
    use crate::state::mirror::Next;
    use crate::state::mirror::testing;
    use crate::state::mirror::testing::Client;
    use crate::state::mirror::testing::items;
    use crate::state::mirror::testing::type_meta;

    #[test]
    fn an_unchanged_list_touches_nothing_and_a_newer_version_of_it_is_remembered() {
        smol::block_on(async {
            let flash = Memory::default();
            let (_mirror, log) = testing::filled(&flash, 500, 300).await;
            let operations = flash.operations();
            let mut writer = log.writer().expect("free");
            for version in [500, 900] {
                writer.begin(Some(&type_meta())).expect("a list");
                items(&mut writer, 1..=500, 300).await;
                let changed = writer.commit(ResourceVersion(version), &type_meta()).await;
                assert_eq!(changed.expect("a list"), Changed::default());
                assert_eq!(flash.operations(), operations);
                assert_eq!(log.complete(), Some(ResourceVersion(500)));
                assert_eq!(log.ahead(), Some(ResourceVersion(version)));
            }
        });
    }

    #[test]
    fn a_list_is_seen_as_a_whole_or_not_at_all() {
        smol::block_on(async {
            let flash = Memory::default();
            let (_mirror, log) = testing::filled(&flash, 500, 300).await;
            let name = log.file_name.clone();
            let before = testing::content(&log).expect("readable");
            let bytes = flash.bytes(&name);
            let mut writer = log.writer().expect("free");
            for give_up in 0..3 {
                writer.begin(None).expect("a list");
                items(&mut writer, 501..=1_000, 300).await;
                assert!(
                    flash.bytes(&name).map(|b| b.len()) > bytes.as_ref().map(|b| b.len() + BATCH)
                );
                assert_eq!(testing::content(&log).expect("readable"), before);
                let event = writer.put(&testing::key(1), ResourceVersion(2_000), false, b"{}");
                assert!(matches!(event, Err(Error::OutOfTurn)));
                match give_up {
                    0 => writer.begin(None).expect("anew"),
                    1 => {
                        let version = ResourceVersion(499);
                        let behind = writer.commit(version, &type_meta()).await;
                        assert!(matches!(
                            behind,
                            Err(Error::Behind {
                                complete: ResourceVersion(500)
                            })
                        ));
                    }
                    _ => {
                        drop(writer);
                        writer = log.writer().expect("free");
                    }
                }
                assert_eq!(flash.bytes(&name), bytes, "cut back");
                assert_eq!(testing::content(&log).expect("readable"), before);
            }
            let stray = writer
                .item(&testing::key(1), ResourceVersion(1), true, b"{}")
                .await;
            assert!(matches!(stray, Err(Error::OutOfTurn)));
            let stray = writer.commit(ResourceVersion(501), &type_meta()).await;
            assert!(matches!(stray, Err(Error::OutOfTurn)));
        });
    }

    #[test]
    fn a_first_list_that_is_given_up_leaves_no_file() {
        smol::block_on(async {
            let flash = Memory::default();
            let mirror = testing::open(&flash);
            let name = testing::collection("pods");
            let log = mirror
                .ensure(&name, std::time::Duration::ZERO)
                .expect("a log");
            let mut writer = log.writer().expect("free");
            writer.begin(None).expect("a list");
            items(&mut writer, 1..=500, 300).await;
            assert_eq!(flash.list_names().len(), 1);
            drop(writer);
            assert!(flash.list_names().is_empty() && mirror.find(&name).is_none());
        });
    }

    #[test]
    fn what_a_list_does_not_name_is_deleted_at_a_version_of_its_own_for_every_live_reader() {
        smol::block_on(async {
            let (_mirror, log) = testing::filled(&Memory::default(), 600, 30).await;
            let mut client = Client::start(&log).expect("readable").expect("complete");
            let mut cursor = log.cursor(ResourceVersion(600)).expect("C");
            let mut writer = log.writer().expect("free");
            writer.begin(None).expect("a list");
            // More deletions than are kept for those who come back later.
            items(&mut writer, (1..=100).chain(700..=702), 30).await;
            let changed = writer.commit(ResourceVersion(1300), &type_meta()).await;
            let changed = changed.expect("a list");
            assert_eq!(
                (changed.puts, changed.deletes, changed.reset),
                (3, 500, false)
            );
            assert_eq!(client.read(usize::MAX).expect("readable"), Some(true));
            let (_, objects) = testing::content(&log).expect("readable").expect("complete");
            assert_eq!(client.objects, objects);

            let mut deleted = 0;
            while let Next::Change(change) = cursor.next().expect("readable") {
                if change.deleted {
                    deleted += 1;
                    // One each, the highest ones up to the list's.
                    assert_eq!(change.stored.version, ResourceVersion(800 + deleted));
                    let text = String::from_utf8(change.stored.object).expect("text");
                    let stamp = format!("\"resourceVersion\":\"{}\"", 800 + deleted);
                    assert!(text.contains(&stamp), "{text}");
                    let previous = change.previous.expect("it was there");
                    let before = log.read_previous(&previous).expect("readable");
                    assert!(!String::from_utf8(before).expect("text").contains(&stamp));
                }
            }
            assert_eq!((deleted, cursor.version()), (500, ResourceVersion(1300)));
            assert!(
                log.cursor(ResourceVersion(600)).is_err(),
                "it left before them"
            );
        });
    }

    #[test]
    fn a_list_that_contradicts_what_was_known_starts_a_new_history() {
        smol::block_on(async {
            let (_mirror, log) = testing::filled(&Memory::default(), 20, 30).await;
            let mut cursor = log.cursor(ResourceVersion(20)).expect("C");
            let mut writer = log.writer().expect("free");
            writer.begin(None).expect("a list");
            // Object 5 at version 15, though at 20 it was known to be at 5.
            items(&mut writer, (1..=4).chain(6..=20), 30).await;
            let key = testing::key(5);
            let item = writer.item(&key, ResourceVersion(15), true, b"{}");
            item.await.expect("an item");
            let changed = writer.commit(ResourceVersion(30), &type_meta()).await;
            assert!(changed.expect("a list").reset);
            assert!(matches!(cursor.next(), Ok(Next::Reset)));
            assert_eq!(log.oldest(), ResourceVersion(30));
            assert!(log.cursor(ResourceVersion(29)).is_err());
        });
    }

    #[test]
    fn a_changed_kind_is_written_though_no_object_changed() {
        smol::block_on(async {
            let flash = Memory::default();
            let (_mirror, log) = testing::filled(&flash, 2, 30).await;
            let mut writer = log.writer().expect("free");
            let other = TypeMeta {
                typed: false,
                ..type_meta()
            };
            writer.begin(Some(&other)).expect("a list");
            items(&mut writer, 1..=2, 30).await;
            let changed = writer.commit(ResourceVersion(3), &other).await;
            assert_eq!(changed.expect("a list"), Changed::default());
            let again = testing::open(&flash.after_kill());
            let log = again.find(log.name()).expect("complete");
            assert_eq!(log.type_meta(), Some(other));
            assert_eq!(log.complete(), Some(ResourceVersion(3)));
        });
    }

    #[test]
    fn an_item_that_is_too_large_ends_the_list() {
        smol::block_on(async {
            let (_mirror, log) = testing::filled(&Memory::default(), 2, 30).await;
            let mut writer = log.writer().expect("free");
            writer.begin(None).expect("a list");
            let large = vec![b' '; MAX_OBJECT + 1];
            let key = testing::key(1);
            let item = writer.item(&key, ResourceVersion(9), true, &large);
            assert!(matches!(item.await, Err(Error::TooLong)));
            let commit = writer.commit(ResourceVersion(9), &type_meta()).await;
            assert!(matches!(commit, Err(Error::OutOfTurn)));
            // One just as large as may be can also be deleted again.
            let largest = testing::object(&key, 9, MAX_OBJECT - 70);
            writer.begin(None).expect("a list");
            let item = writer.item(&key, ResourceVersion(9), true, &largest);
            item.await.expect("an item");
            let commit = writer.commit(ResourceVersion(9), &type_meta()).await;
            assert_eq!(commit.expect("a list").deletes, 1);
            writer.begin(None).expect("a list");
            let commit = writer.commit(ResourceVersion(u64::MAX), &type_meta()).await;
            assert_eq!(commit.expect("a list").deletes, 1);
        });
    }
}
