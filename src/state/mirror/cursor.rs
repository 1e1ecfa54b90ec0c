//! A place in a log from which a watch goes on.
//!
//! A cursor is an offset in the file and the version that it has delivered through. At the live end it reads what is
//! appended, in the order of the log. Three things lie in its way:
//!
//! - a list that was committed (`Begin` … `Complete`): the difference that it made stands there, with what each object
//!   was before; it is delivered in the order of versions;
//! - a compaction before the old file was read to its end: what the index and the deletions say happened after the
//!   cursor's version is *replayed*, in the order of versions, condensed to the last change of each object; the same
//!   goes for a new cursor at a version before C;
//! - deletions that are not known any more, or a new epoch: [`Next::Reset`].
//!
//! So versions do not go back, nothing is lost and nothing comes twice. `version()` while a difference or a replay is
//! under way is the last version of which everything was delivered.

use std::rc::Rc;
use std::sync::Arc;

use crate::io::flash::File;
use crate::k8s::object::ResourceVersion;
use crate::k8s::order;
use crate::state::mirror::Error;
use crate::state::mirror::index::Versioned;
use crate::state::mirror::log::Log;
use crate::state::mirror::log::Stored;
use crate::state::mirror::reader::AHEAD;
use crate::state::mirror::reader::Reader;
use crate::state::mirror::snapshot::Snapshot;
use crate::state::mirror::state::State;
use crate::wire::record::Place;
use crate::wire::record::Record;

/// The version asked for is older than what can be replayed, or the collection is not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired;

/// A reader of what happens to a collection.
pub struct Cursor {
    log: Rc<Log>,
    epoch: u32,
    generation: u32,
    at: u64,
    version: u64,
    /// What it was started after: events up to it are known to the client, though they may come only now.
    floor: u64,
    /// The client knows more than the log: a list that carries the log past it does not tell what is gone of that.
    ahead: bool,
    lost: bool,
    queue: Option<Queue>,
}

/// Records to deliver before the file is read on.
struct Queue {
    reader: Reader,
    records: std::vec::IntoIter<Versioned>,
    /// What is delivered through when it is empty.
    through: u64,
    replayed: bool,
}

/// How much is read for one event: most are shorter, head and all.
const EVENT: usize = 2 * 1024;

/// What a cursor has to say.
#[derive(Debug)]
pub enum Next {
    /// An object changed.
    Change(Change),
    /// All was delivered, through [`Cursor::version`]; see [`Log::changed`].
    Idle,
    /// The cursor cannot go on: the client must list anew.
    Reset,
}

/// A change of one object.
#[derive(Debug)]
pub struct Change {
    /// The object is gone; `stored` is what it was, at the version of the deletion.
    pub deleted: bool,
    /// The object.
    pub stored: Stored,
    /// What it was before this change; none when it is new, and for every replayed change.
    pub previous: Option<Previous>,
    /// It is the last of any number of changes: whether the object was there before is not known.
    pub replayed: bool,
}

/// What an object was before a change, see [`Log::read_previous`].
pub struct Previous {
    file: Arc<dyn File>,
    place: Place,
}

impl std::fmt::Debug for Previous {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.place.fmt(f)
    }
}

impl Log {
    /// A cursor that delivers what happened after a version. One after C is at the live end and passes over what comes
    /// up to its version: the client knows it from elsewhere.
    pub fn cursor(self: &Rc<Self>, after: ResourceVersion) -> Result<Cursor, Expired> {
        let state = self.state();
        let complete = state.complete.ok_or(Expired)?;
        if after.0 < state.index.oldest() {
            return Err(Expired);
        }
        let mut cursor = self.live_cursor(&state, after.0);
        if after.0 < complete {
            // Not in any generation: the first look replays.
            cursor.generation = state.generation.wrapping_sub(2);
        }
        Ok(cursor)
    }

    /// All objects, and a cursor that goes on from there; none when the collection is not complete.
    pub fn cursor_from_start(self: &Rc<Self>) -> Result<Option<(Snapshot, Cursor)>, Error> {
        let mut state = self.state();
        let Some(snapshot) = self.take_snapshot(&mut state)? else {
            return Ok(None);
        };
        let cursor = self.live_cursor(&state, snapshot.version().0);
        Ok(Some((snapshot, cursor)))
    }

    /// The bytes of an object before a change.
    pub fn read_previous(&self, previous: &Previous) -> Result<Vec<u8>, Error> {
        let mut state = self.state();
        let stored = self.read(&mut state, &previous.file, previous.place)?;
        Ok(stored.object)
    }

    fn live_cursor(self: &Rc<Self>, state: &State, version: u64) -> Cursor {
        Cursor {
            log: Rc::clone(self),
            epoch: state.epoch,
            generation: state.generation,
            at: state.end,
            version,
            floor: version,
            ahead: version > state.complete.max(state.ahead).unwrap_or(0),
            lost: false,
            queue: None,
        }
    }
}

impl Cursor {
    /// Everything up to this version was delivered.
    pub fn version(&self) -> ResourceVersion {
        ResourceVersion(self.version)
    }

    /// The log it reads.
    pub fn log(&self) -> &Rc<Log> {
        &self.log
    }

    /// What comes next. After an error the same call may be tried again; when bytes have changed on flash the log is
    /// gone and it says [`Next::Reset`].
    #[allow(
        clippy::should_implement_trait,
        reason = "it never ends, so it is no iterator"
    )]
    pub fn next(&mut self) -> Result<Next, Error> {
        let log = Rc::clone(&self.log);
        let mut state = log.state();
        loop {
            if state.gone || state.epoch != self.epoch || self.lost {
                self.queue = None;
                return Ok(Next::Reset);
            }
            if self.queue.is_some() {
                match self.deliver_queued(&mut state)? {
                    Some(change) => return Ok(Next::Change(change)),
                    None => continue,
                }
            }
            if state.generation != self.generation && !self.follow(&mut state)? {
                return Ok(Next::Reset);
            }
            if self.queue.is_some() {
                continue;
            }
            if self.at >= state.end {
                self.ahead &= state.complete.max(state.ahead).unwrap_or(0) < self.floor;
                self.version = self.version.max(state.complete.unwrap_or(0));
                return Ok(Next::Idle);
            }
            if let Some(change) = self.read_on(&mut state)? {
                return Ok(Next::Change(change));
            }
        }
    }

    /// Goes over to the file that is there now; `false` when what happened meanwhile is not known any more.
    fn follow(&mut self, state: &mut State) -> Result<bool, Error> {
        let (before, now) = state.switched;
        if self.generation.wrapping_add(1) == state.generation && self.at == before {
            (self.generation, self.at) = (state.generation, now);
            return Ok(true);
        }
        if self.version < state.index.oldest()
            || self.ahead && state.complete.is_some_and(|complete| complete > self.floor)
        {
            return Ok(false);
        }
        self.queue = Some(Queue {
            reader: Reader::new(self.log.file(state)?),
            records: state.index.since(self.version).into_iter(),
            through: state.complete.unwrap_or(0),
            replayed: true,
        });
        (self.generation, self.at) = (state.generation, state.end);
        Ok(true)
    }

    /// Reads the next frame at the live end.
    fn read_on(&mut self, state: &mut State) -> Result<Option<Change>, Error> {
        let file = self.log.file(state)?;
        let mut reader = Reader::new(Arc::clone(&file));
        let frame = match reader.frame(self.at, state.end, EVENT) {
            Ok(frame) => frame,
            Err(error @ Error::Damaged { .. }) => return Err(self.log.lose(state, error)),
            Err(error) => return Err(error),
        };
        let after = frame.place.end();
        let (deleted, item) = match frame.record {
            Record::Put(item) => (false, item),
            Record::Delete(item) => (true, item),
            Record::Begin => {
                self.enter_list(file, state)?;
                return Ok(None);
            }
            Record::Complete { version, .. } => {
                (self.at, self.version) = (after, self.version.max(version));
                return Ok(None);
            }
            Record::Head(_)
            | Record::Sealed { .. }
            | Record::Type { .. }
            | Record::Oldest { .. }
            | Record::Mark { .. } => {
                self.at = after;
                return Ok(None);
            }
        };
        let passed = item.version <= self.floor;
        self.ahead &= item.version < self.floor;
        let place = item.previous;
        let stored = self.log.stored(&item);
        (self.at, self.version) = (after, self.version.max(item.version));
        if passed {
            return Ok(None);
        }
        let damaged = Error::Damaged { at: after };
        Ok(Some(Change {
            deleted,
            stored: stored.ok_or_else(|| self.log.lose(state, damaged))?,
            previous: place.map(|place| Previous { file, place }),
            replayed: false,
        }))
    }

    /// Queues the difference that a list made.
    fn enter_list(&mut self, file: Arc<dyn File>, state: &mut State) -> Result<(), Error> {
        let mut reader = Reader::new(file);
        let mut records = Vec::new();
        let mut at = self.at;
        let through = loop {
            let frame = match reader.frame(at, state.end, AHEAD) {
                Ok(frame) => frame,
                Err(error @ Error::Damaged { .. }) => return Err(self.log.lose(state, error)),
                Err(error) => return Err(error),
            };
            at = frame.place.end();
            match frame.record {
                Record::Put(item) | Record::Delete(item) if item.version > self.floor => {
                    records.push(Versioned {
                        version: item.version,
                        place: frame.place,
                    });
                }
                Record::Complete { version, .. } => break version,
                Record::Put(_)
                | Record::Delete(_)
                | Record::Head(_)
                | Record::Sealed { .. }
                | Record::Type { .. }
                | Record::Begin
                | Record::Oldest { .. }
                | Record::Mark { .. } => {}
            }
        };
        self.lost = self.ahead && through > self.floor;
        self.ahead &= through < self.floor;
        // Stable: deletions stand behind what was put at the same version.
        order::by_key(&mut records, |record| record.version);
        self.at = at;
        self.queue = Some(Queue {
            reader,
            records: records.into_iter(),
            through,
            replayed: false,
        });
        Ok(())
    }

    /// The next of the queue; none when it is empty, and then it is no more.
    fn deliver_queued(&mut self, state: &mut State) -> Result<Option<Change>, Error> {
        let Some(queue) = self.queue.as_mut() else {
            return Ok(None);
        };
        let Some(record) = queue.records.as_slice().first().copied() else {
            self.version = self.version.max(queue.through);
            self.queue = None;
            return Ok(None);
        };
        let following = queue.records.as_slice().get(1);
        let ahead = match following {
            Some(next) if next.place.offset == record.place.end() => AHEAD,
            _ => 0,
        };
        let read = match queue.reader.at(record.place, ahead) {
            Ok(Record::Put(item)) => Some((false, self.log.stored(&item), item.previous)),
            Ok(Record::Delete(item)) => Some((true, self.log.stored(&item), item.previous)),
            Ok(_) | Err(Error::Damaged { .. }) => None,
            Err(error) => return Err(error),
        };
        let Some((deleted, Some(stored), place)) = read else {
            let at = record.place.offset;
            return Err(self.log.lose(state, Error::Damaged { at }));
        };
        let file = queue.reader.file();
        let change = Change {
            deleted,
            stored,
            previous: place.filter(|_| !queue.replayed).map(|place| Previous {
                file: Arc::clone(file),
                place,
            }),
            replayed: queue.replayed,
        };
        // One that others share is delivered only with the last of them.
        if following.is_none_or(|next| next.version > record.version) && following.is_some() {
            self.version = self.version.max(record.version);
        }
        queue.records.next();
        Ok(Some(change))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::flash::memory::Memory;
    use crate::state::mirror::testing;
    use crate::state::mirror::testing::delete;
    use crate::state::mirror::testing::put;

    /// What comes until all was delivered: version, key, deleted, replayed.
    fn told(cursor: &mut Cursor) -> Vec<(u64, String, bool, bool)> {
        let mut told = Vec::new();
        while let Next::Change(change) = cursor.next().expect("readable") {
            let key = change.stored.key.as_str().to_owned();
            let version = change.stored.version.0;
            told.push((version, key, change.deleted, change.replayed));
        }
        told
    }

    fn change(version: u64, key: &str, deleted: bool, replayed: bool) -> (u64, String, bool, bool) {
        (version, key.to_owned(), deleted, replayed)
    }

    #[test]
    fn a_live_cursor_tells_each_change_and_what_was_before_it() {
        smol::block_on(async {
            let (_mirror, log) = testing::filled(&Memory::default(), 2, 10).await;
            let mut cursor = log.cursor(ResourceVersion(2)).expect("C");
            assert!(matches!(cursor.next(), Ok(Next::Idle)));
            let changed = log.changed();
            let mut writer = log.writer().expect("free");
            put(&mut writer, 1, 3, 20);
            changed.await;
            let Ok(Next::Change(first)) = cursor.next() else {
                panic!("a change");
            };
            let previous = first.previous.expect("it was there");
            assert_eq!(
                log.read_previous(&previous).expect("readable"),
                testing::object(&testing::key(1), 1, 10)
            );
            put(&mut writer, 9, 4, 10);
            put(&mut writer, 9, 5, 10);
            delete(&mut writer, 1, 6);
            assert_eq!(
                told(&mut cursor),
                [
                    change(4, "/o009", false, false),
                    change(5, "/o009", false, false),
                    change(6, "/o001", true, false),
                ]
            );
            assert_eq!(cursor.version(), ResourceVersion(6));
        });
    }

    #[test]
    fn who_knows_more_than_the_log_must_start_anew_when_a_list_carries_the_log_past_it() {
        smol::block_on(async {
            let (_mirror, log) = testing::filled(&Memory::default(), 5, 10).await;
            let mut ahead = log.cursor(ResourceVersion(8)).expect("C");
            let mut caught_up = log.cursor(ResourceVersion(7)).expect("C");
            let mut writer = log.writer().expect("free");
            put(&mut writer, 1, 7, 10);
            assert_eq!(told(&mut caught_up), []);
            writer.begin(None).expect("a list");
            testing::items(&mut writer, 2..=4, 10).await;
            let of = testing::type_meta();
            let listed = writer.commit(ResourceVersion(12), &of).await;
            assert_eq!(listed.expect("a list").deletes, 2);
            // It may hold what came at 8 and is gone again: the list says nothing of that.
            assert!(matches!(ahead.next(), Ok(Next::Reset)));
            assert_eq!(told(&mut caught_up).len(), 2);
        });
    }

    #[test]
    fn a_cursor_from_before_is_told_the_last_change_of_each_object_in_the_order_of_versions() {
        smol::block_on(async {
            let flash = Memory::default();
            let (mirror, log) = testing::filled(&flash, 5, 10).await;
            let mut writer = log.writer().expect("free");
            put(&mut writer, 3, 6, 10);
            put(&mut writer, 1, 7, 10);
            delete(&mut writer, 2, 8);
            put(&mut writer, 3, 9, 10);
            put(&mut writer, 2, 10, 10);
            let expected = [
                change(7, "/o001", false, true),
                change(8, "/o002", true, true),
                change(9, "/o003", false, true),
                change(10, "/o002", false, true),
            ];
            let mut cursor = log.cursor(ResourceVersion(6)).expect("known");
            assert_eq!(cursor.version(), ResourceVersion(6));
            assert_eq!(told(&mut cursor), expected);
            put(&mut writer, 4, 11, 10);
            assert_eq!(told(&mut cursor), [change(11, "/o004", false, false)]);
            assert!(
                log.cursor(ResourceVersion(4)).is_err(),
                "before the first list"
            );

            mirror.close().await.expect("synced");
            let again = testing::open(&flash);
            let log = again.find(log.name()).expect("complete");
            let mut cursor = log.cursor(ResourceVersion(6)).expect("known");
            assert_eq!(told(&mut cursor)[..4], expected);
            assert!(log.cursor(ResourceVersion(4)).is_err());
        });
    }

    #[test]
    fn deletions_beyond_the_bound_move_the_oldest_version_that_can_be_replayed() {
        smol::block_on(async {
            let flash = Memory::default();
            let (_mirror, log) = testing::filled(&flash, 300, 10).await;
            let mut writer = log.writer().expect("free");
            for number in 1..=300 {
                delete(&mut writer, number, 300 + number);
            }
            for log in [
                Rc::clone(&log),
                testing::open(&flash.after_kill())
                    .find(log.name())
                    .expect("complete"),
            ] {
                assert_eq!(log.oldest(), ResourceVersion(344));
                assert!(log.cursor(ResourceVersion(343)).is_err());
                let mut cursor = log.cursor(ResourceVersion(344)).expect("known");
                assert_eq!(told(&mut cursor).len(), 256);
            }
        });
    }

    #[test]
    fn a_cursor_ahead_of_the_log_passes_over_what_its_client_knows() {
        smol::block_on(async {
            let (_mirror, log) = testing::filled(&Memory::default(), 5, 10).await;
            let mut cursor = log.cursor(ResourceVersion(8)).expect("live");
            let mut writer = log.writer().expect("free");
            put(&mut writer, 1, 7, 10);
            put(&mut writer, 2, 8, 10);
            assert!(told(&mut cursor).is_empty());
            assert_eq!(cursor.version(), ResourceVersion(8));
            put(&mut writer, 3, 9, 10);
            assert_eq!(told(&mut cursor), [change(9, "/o003", false, false)]);
        });
    }

    #[test]
    fn a_reset_ends_every_cursor_and_a_log_that_is_not_complete_has_none() {
        smol::block_on(async {
            let (_mirror, log) = testing::filled(&Memory::default(), 5, 10).await;
            let mut live = log.cursor(ResourceVersion(5)).expect("C");
            let mut writer = log.writer().expect("free");
            put(&mut writer, 1, 6, 10);
            let mut replaying = log.cursor(ResourceVersion(5)).expect("known");
            writer.reset().expect("empty");
            for cursor in [&mut live, &mut replaying] {
                assert!(matches!(cursor.next(), Ok(Next::Reset)));
            }
            assert!(log.cursor(ResourceVersion(6)).is_err());
            assert!(log.cursor_from_start().expect("readable").is_none());
            assert!(log.snapshot().expect("readable").is_none());
            let event = writer.put(&testing::key(1), ResourceVersion(9), false, b"{}");
            assert!(matches!(event, Err(Error::Incomplete)));
            // The next epoch starts below the last one.
            writer.begin(None).expect("a list");
            testing::items(&mut writer, 1..=2, 10).await;
            let type_meta = testing::type_meta();
            let commit = writer.commit(ResourceVersion(2), &type_meta);
            commit.await.expect("a list");
            assert!(matches!(live.next(), Ok(Next::Reset)));
            assert!(log.cursor(ResourceVersion(2)).is_ok());
        });
    }
}
