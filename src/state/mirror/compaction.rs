//! A log's file without what nobody can ask for any more.
//!
//! The new file holds a snapshot of what the index points to, then what was appended to the old one while that was
//! copied. The copying runs on the worker in short steps, so that syncs and lists get their turn; only the last of what
//! was appended meanwhile is copied in line, in the same breath as the rename, so that nothing can come between.
//!
//! Why the rename may come before the last copied bytes are synced: the snapshot is synced, and it holds all that was
//! synced in the old file, because nobody syncs the old file while it is compacted. (If somebody did, the new file is
//! thrown away.) So a power cut right after the rename loses what was not synced yet, as it would have before.
//!
//! Readers that hold the old file open go on with it. A cursor that had read it to the end goes on in the new file,
//! others are replayed by version; so the places of former objects, which only live readers want, are not carried over.

use std::sync::Arc;

use crate::io::flash::File;
use crate::io::worker;
use crate::k8s::encoding::Encoding;
use crate::k8s::order;
use crate::state::mirror::Error;
use crate::state::mirror::LOG;
use crate::state::mirror::NEW;
use crate::state::mirror::log::Log;
use crate::state::mirror::reader::AHEAD;
use crate::state::mirror::reader::Reader;
use crate::state::mirror::state::State;
use crate::wire::record;
use crate::wire::record::FRAME_HEAD;
use crate::wire::record::Head;
use crate::wire::record::Item;
use crate::wire::record::MAGIC;
use crate::wire::record::Place;
use crate::wire::record::Record;

/// Dead bytes that are not worth a compaction, whatever is live.
const SLACK: u64 = 64 * 1024;

/// How much is copied in one step of the worker, and at most in line.
const STEP: u64 = 256 * 1024;

/// Copies frames from one file to another.
struct Copier {
    reader: Reader,
    to: Arc<dyn File>,
    /// How much of `to` is written, and what comes next.
    written: u64,
    buffer: Vec<u8>,
    /// Where frames stood and where they stand.
    moved: Vec<(u64, Place)>,
    check: u32,
}

impl Log {
    /// Whether more of the file is dead than alive.
    pub(crate) fn wants_compaction(&self, state: &State) -> bool {
        let live = state.index.live_bytes();
        let dead = state.end.saturating_sub(live);
        state.loaded
            && state.complete.is_some()
            && !state.staged
            && !state.read_only
            && (state.unsound || dead > live.saturating_add(SLACK))
            && state.end >= state.compact_from
    }

    /// Compacts the file if it should be. That it fails changes nothing: the old file stands.
    pub(crate) async fn compact_if_due(&self) {
        if !self.wants_compaction(&self.state()) {
            return;
        }
        match self.compact().await {
            Ok(true) => {}
            Ok(false) => self.shared.remove(&self.new_name()),
            Err(error @ Error::Damaged { .. }) => {
                self.shared.remove(&self.new_name());
                self.lose(&mut self.state(), error);
            }
            Err(error) => {
                ::log::warn!("mirror: cannot compact collection={}: {error}", self.name);
                self.shared.remove(&self.new_name());
                let mut state = self.state();
                state.compact_from = state.end.saturating_mul(2);
            }
        }
    }

    /// `false` when something came between.
    async fn compact(&self) -> Result<bool, Error> {
        let (mut copier, places, through, version, identity) = {
            let mut state = self.state();
            let version = state.complete.unwrap_or(0);
            let old = self.file(&mut state)?;
            let new = self.shared.flash.create(&self.new_name())?;
            let mut copier = Copier::new(old, new);
            copier.start(self, &state)?;
            let buried = state.index.tombstones().map(|gone| gone.place);
            let there = state.index.entries().iter().map(|entry| entry.place);
            let places: Vec<Place> = buried.chain(there).collect();
            let identity = (state.epoch, state.generation);
            (copier, places, state.end, version, identity)
        };
        let mut places = places.into_iter();
        while !places.as_slice().is_empty() {
            (copier, places) = worker::run(move || {
                copier.copy_staged(&mut places)?;
                Ok::<_, Error>((copier, places))
            })
            .await?;
        }
        copier = worker::run(move || {
            copier.finish(version)?;
            Ok::<_, Error>(copier)
        })
        .await?;
        let mut copied = through;
        loop {
            {
                let mut state = self.state();
                let disturbed = state.gone
                    || (state.epoch, state.generation) != identity
                    || state.staged
                    || state.synced > through;
                if disturbed {
                    return Ok(false);
                }
                if state.end.saturating_sub(copied) <= STEP {
                    copier.copy_range(copied, state.end)?;
                    return self.switch(&mut state, copier).map(|()| true);
                }
            }
            let until = self.state().end;
            copier = worker::run(move || {
                copier.copy_range(copied, until)?;
                Ok::<_, Error>(copier)
            })
            .await?;
            copied = until;
        }
    }

    /// Puts the new file in the place of the old one.
    fn switch(&self, state: &mut State, mut copier: Copier) -> Result<(), Error> {
        self.shared
            .flash
            .rename(&self.new_name(), &self.file_name)?;
        self.count(usize::try_from(copier.written).unwrap_or(usize::MAX));
        order::by_key(&mut copier.moved, |(from, _)| *from);
        let moved = &copier.moved;
        let found = state.index.relocate(|place| {
            let at = moved.binary_search_by_key(&place.offset, |(from, _)| *from);
            at.ok().and_then(|at| moved.get(at)).map(|(_, to)| *to)
        });
        if !found {
            // Every frame that the index points to was copied, so this cannot be.
            return Err(Error::Damaged { at: 0 });
        }
        state.generation = state.generation.wrapping_add(1);
        state.switched = (state.end, copier.written);
        (state.synced, state.marked, state.named) = (0, 0, false);
        (state.due, state.compact_from, state.unsound) = (None, 0, false);
        self.hold(state, copier.to);
        self.committed(state, copier.written);
        Ok(())
    }

    fn new_name(&self) -> String {
        let stem = self.file_name.strip_suffix(LOG).unwrap_or(&self.file_name);
        format!("{stem}{NEW}")
    }
}

impl Copier {
    fn new(from: Arc<dyn File>, to: Arc<dyn File>) -> Self {
        Self {
            reader: Reader::new(from),
            to,
            written: 0,
            buffer: Vec::new(),
            moved: Vec::new(),
            check: 0,
        }
    }

    /// What stands before the objects.
    fn start(&mut self, log: &Log, state: &State) -> Result<(), Error> {
        self.buffer.extend_from_slice(&MAGIC);
        self.append(&Record::Head(Head::new(&log.name)))?;
        if let Some(sealed) = log.seal_record() {
            self.append(&sealed)?;
        }
        self.append(&Record::Mark {
            synced: 0,
            fresh: state.fresh,
        })?;
        self.append(&Record::Begin)?;
        if let Some(meta) = &state.type_meta {
            self.append(&Record::Type {
                kind: &meta.kind,
                api_version: &meta.api_version,
                typed: meta.typed,
                protobuf: meta.encoding == Encoding::Protobuf,
            })?;
        }
        self.append(&Record::Oldest {
            version: state.index.oldest(),
        })
    }

    /// Copies the next objects and deletions of the snapshot.
    fn copy_staged(&mut self, places: &mut std::vec::IntoIter<Place>) -> Result<(), Error> {
        let until = self.written.saturating_add(STEP);
        while self.written < until
            && let Some(place) = places.next()
        {
            let record = match self.reader.at(place, 0)? {
                Record::Put(item) => Record::Put(moved(item, true)),
                Record::Delete(item) => Record::Delete(moved(item, true)),
                _ => return Err(Error::Damaged { at: place.offset }),
            };
            let to = append(&mut self.buffer, &mut self.check, &record, self.written)?;
            self.moved.push((place.offset, to));
            self.flush(AHEAD)?;
        }
        Ok(())
    }

    /// Ends the snapshot and makes it safe.
    fn finish(&mut self, version: u64) -> Result<(), Error> {
        let check = self.check;
        self.append(&Record::Complete { version, check })?;
        self.flush(0)?;
        Ok(self.to.sync_data()?)
    }

    /// Copies what was appended to the old file. Its marks speak of the old file and stay there.
    fn copy_range(&mut self, from: u64, until: u64) -> Result<(), Error> {
        let mut at = from;
        // Committed parts hold whole lists only, so this range does not end within one.
        let mut listing = false;
        while at < until {
            let frame = self.reader.frame(at, until, AHEAD)?;
            let (place, record) = (frame.place, frame.record);
            at = place.end();
            let record = match record {
                Record::Mark { .. } => continue,
                Record::Put(item) => Record::Put(moved(item, item.staged)),
                Record::Delete(item) => Record::Delete(moved(item, item.staged)),
                Record::Complete { version, .. } => Record::Complete {
                    version,
                    check: if std::mem::take(&mut listing) {
                        self.check
                    } else {
                        0
                    },
                },
                Record::Begin => {
                    listing = true;
                    Record::Begin
                }
                record @ (Record::Head(_)
                | Record::Sealed { .. }
                | Record::Type { .. }
                | Record::Oldest { .. }) => record,
            };
            let to = append(&mut self.buffer, &mut self.check, &record, self.written)?;
            self.moved.push((place.offset, to));
            self.flush(AHEAD)?;
        }
        self.flush(0)
    }

    fn append(&mut self, record: &Record<'_>) -> Result<(), Error> {
        append(&mut self.buffer, &mut self.check, record, self.written).map(drop)
    }

    /// Writes the buffer if it holds more than `keep` bytes.
    fn flush(&mut self, keep: usize) -> Result<(), Error> {
        if self.buffer.len() > keep {
            self.to.write_at(&self.buffer, self.written)?;
            self.written = self.written.saturating_add(self.buffer.len() as u64);
            self.buffer.clear();
        }
        Ok(())
    }
}

/// Appends a frame to what goes behind `written` bytes; where it will stand.
fn append(
    buffer: &mut Vec<u8>,
    check: &mut u32,
    record: &Record<'_>,
    written: u64,
) -> Result<Place, Error> {
    let place = record::append(buffer, record)?;
    if matches!(record, Record::Begin) {
        *check = 0;
    }
    let head = usize::try_from(place.offset)
        .ok()
        .and_then(|at| buffer.get(at..)?.first_chunk::<FRAME_HEAD>());
    if let Some(head) = head {
        *check = record::fold(*check, *head);
    }
    Ok(Place {
        offset: written.saturating_add(place.offset),
        ..place
    })
}

fn moved(item: Item<'_>, staged: bool) -> Item<'_> {
    Item {
        staged,
        previous: None,
        ..item
    }
}

#[cfg(test)]
mod tests {
    use crate::io::flash::memory::Memory;
    use crate::k8s::object::ResourceVersion;
    use crate::state::mirror::Next;
    use crate::state::mirror::testing;
    use crate::state::mirror::testing::Client;
    use crate::state::mirror::testing::Clock;
    use crate::state::mirror::testing::delete;
    use crate::state::mirror::testing::put;

    #[test]
    fn readers_of_the_old_file_go_on_and_others_find_the_same_in_the_new_one() {
        smol::block_on(async {
            let flash = Memory::default();
            let (mirror, log) = testing::filled(&flash, 100, 100).await;
            let mut clock = Clock::new();
            let mut slow = log.snapshot().expect("readable").expect("complete");
            assert!(slow.next().is_some());
            let mut lagging = Client::start(&log).expect("readable").expect("complete");
            let mut current = Client::start(&log).expect("readable").expect("complete");
            let mut writer = log.writer().expect("free");
            for version in 101..=1_000 {
                put(&mut writer, 1 + version % 100, version, 100);
            }
            delete(&mut writer, 7, 1_001);
            assert_eq!(lagging.read(300).expect("readable"), Some(false));
            assert_eq!(current.read(usize::MAX).expect("readable"), Some(true));
            let (before, oldest) = (testing::content(&log).expect("readable"), log.oldest());
            let large = log.file_bytes();
            mirror.tend(clock.after(1)).await;
            assert!(log.file_bytes() < large / 4, "{}", log.file_bytes());
            assert_eq!(flash.list_names().len(), 1);
            assert_eq!(testing::content(&log).expect("readable"), before);
            assert_eq!(log.oldest(), oldest);

            let mut rest = 0;
            while let Some(stored) = slow.next() {
                assert!(stored.expect("readable").version.0 <= 100, "as it was");
                rest += 1;
            }
            assert_eq!(rest, 99);
            put(&mut writer, 50, 1_002, 100);
            let Ok(Next::Change(live)) = current.cursor.next() else {
                panic!("a change");
            };
            assert!(!live.replayed && live.previous.is_some(), "it had read all");
            assert_eq!(lagging.read(usize::MAX).expect("readable"), Some(true));
            let now = testing::content(&log).expect("readable");
            assert_eq!(Some((1_002, lagging.objects)), now);

            let again = testing::open(&flash.after_kill());
            let log = again.find(log.name()).expect("complete");
            assert_eq!(testing::content(&log).expect("readable"), now);
            assert_eq!(log.oldest(), oldest);
            let mut cursor = log.cursor(ResourceVersion(1_000)).expect("known");
            assert!(matches!(cursor.next(), Ok(Next::Change(gone)) if gone.deleted));
        });
    }

    #[test]
    fn what_is_written_while_it_runs_is_carried_over_and_a_list_that_began_stops_it() {
        smol::block_on(async {
            for list in [false, true] {
                let flash = Memory::default();
                let (mirror, log) = testing::filled(&flash, 100, 10_000).await;
                let mut writer = log.writer().expect("free");
                for version in 101..=350 {
                    put(&mut writer, 1 + version % 100, version, 10_000);
                }
                log.sync().await.expect("synced");
                let mut client = Client::start(&log).expect("readable").expect("complete");
                let large = log.file_bytes();
                let mut clock = Clock::new();
                let mut compaction = std::pin::pin!(mirror.tend(clock.after(1)));
                let mut version = 350;
                if list {
                    writer.begin(None).expect("a list");
                }
                let mut busy = Some(testing::busy_worker().await);
                while smol::future::poll_once(&mut compaction).await.is_none() {
                    if list && busy.is_some() {
                        testing::items(&mut writer, 351..=352, 10).await;
                    } else if !list && version < 700 {
                        version += 1;
                        put(&mut writer, 1 + version % 90, version, 3_000);
                    }
                    busy = None;
                    std::thread::yield_now();
                }
                assert!(list || version > 350);
                if list {
                    assert_eq!(log.file_bytes(), large, "it was given up");
                    writer.begin(None).expect("the list is given up too");
                    mirror.tend(clock.after(1)).await;
                }
                assert!(log.file_bytes() < large);
                assert_eq!(flash.list_names().len(), 1);
                let now = testing::content(&log).expect("readable").expect("complete");
                assert_eq!(now.0, version);
                let again = testing::open(&flash.after_kill());
                let found = again.find(log.name()).expect("complete");
                assert_eq!(
                    testing::content(&found).expect("readable"),
                    Some(now.clone())
                );
                assert_eq!(client.read(usize::MAX).expect("readable"), Some(true));
                assert_eq!(client.objects, now.1);
                let bytes = flash.bytes(&log.file_name).expect("a file");
                let vouched = crate::wire::record::vouched(&bytes);
                assert_eq!(vouched, Some(0), "marks of the old file stay there");
            }
        });
    }

    #[test]
    fn a_reader_that_lags_behind_more_deletions_than_are_kept_must_start_anew() {
        smol::block_on(async {
            for deletions in [256, 257] {
                let (mirror, log) = testing::filled(&Memory::default(), 300, 300).await;
                let mut cursor = log.cursor(ResourceVersion(300)).expect("C");
                let mut writer = log.writer().expect("free");
                for number in 1..=deletions {
                    delete(&mut writer, number, 300 + number);
                }
                for version in 601..=1_000 {
                    put(&mut writer, 300, version, 300);
                }
                let large = log.file_bytes();
                mirror.tend(Clock::new().0).await;
                assert!(log.file_bytes() < large);
                let next = cursor.next().expect("readable");
                assert_eq!(matches!(next, Next::Reset), deletions == 257);
            }
        });
    }

    #[test]
    fn what_was_synced_in_the_old_file_meanwhile_is_not_left_behind() {
        smol::block_on(async {
            let (mirror, log) = testing::filled(&Memory::default(), 100, 10_000).await;
            let mut writer = log.writer().expect("free");
            for version in 101..=350 {
                put(&mut writer, 1 + version % 100, version, 10_000);
            }
            let large = log.file_bytes();
            let mut clock = Clock::new();
            let mut compaction = std::pin::pin!(mirror.tend(clock.after(1)));
            let busy = testing::busy_worker().await;
            assert!(smol::future::poll_once(&mut compaction).await.is_none());
            put(&mut writer, 1, 351, 10);
            drop(busy);
            log.sync().await.expect("synced");
            compaction.await;
            assert!(log.file_bytes() > large, "it was given up");
            mirror.tend(clock.after(1)).await;
            assert!(log.file_bytes() < large);
        });
    }
}
