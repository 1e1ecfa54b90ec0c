//! What a file says after a start: the committed part of it, wherever writing was broken off.
//!
//! # Torn or damaged
//!
//! Frames are read until the first that is not whole. Two things leave such a frame. A power cut may tear the batch
//! that was not synced yet, anywhere in it: whole frames may stand behind the broken one. Or the flash has changed
//! bytes that were safe. After a tear, the committed part before it is the right answer: it is a state that the server
//! had, complete at the version it says, and whoever was told a later one is sent to ask again. After damage it would
//! be right too, but it may be days old while the node went on for those days, so the collection is given up instead.
//!
//! What tells them apart is [`Record::Mark`]: the first write after a sync says how far the file was synced. A mark
//! behind the broken frame that vouches for its place means damage. Without one the broken frame is in the part that
//! was never known to be safe, or was made safe by the very last sync and lost since, which looks the same.

use std::sync::Arc;

use crate::io::flash::File;
use crate::state::mirror::Error;
use crate::state::mirror::TypeMeta;
use crate::state::mirror::index::Entry;
use crate::state::mirror::index::Index;
use crate::state::mirror::reader::Frame;
use crate::state::mirror::reader::Reader;
use crate::wire::record;
use crate::wire::record::Head;
use crate::wire::record::Item;
use crate::wire::record::MAGIC;
use crate::wire::record::MARK_LEN;
use crate::wire::record::Place;
use crate::wire::record::Record;

/// What stands in the committed part of a file.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    pub(crate) index: Index,
    /// C; none when no list was ever finished.
    pub(crate) complete: Option<u64>,
    /// The version of the last list.
    pub(crate) listed: u64,
    pub(crate) type_meta: Option<TypeMeta>,
    pub(crate) fresh: u64,
    /// Where the committed part ends.
    pub(crate) end: u64,
    /// How long the file is.
    pub(crate) size: u64,
}

/// A snapshot that is not complete yet.
#[derive(Default)]
struct Staged {
    puts: Vec<Entry>,
    deletes: Vec<Entry>,
    type_meta: Option<TypeMeta>,
    oldest: Option<u64>,
    check: u32,
}

/// Whose file it is, and which key has sealed it, if one has; `None` when it does not start as one of ours, or as one of a
/// later format.
pub(crate) fn head(file: &Arc<dyn File>) -> Result<Option<(Head, Option<u64>)>, Error> {
    let mut reader = Reader::new(Arc::clone(file));
    let size = file.size()?;
    if reader.bytes(0, MAGIC.len())? != MAGIC {
        return Ok(None);
    }
    let frame = reader.frame(MAGIC.len() as u64, size, 512);
    let (head, next) = match frame.map(|frame| (frame.record, frame.place.end())) {
        Ok((Record::Head(head), next)) => (head, next),
        Ok(_) | Err(Error::Damaged { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    match reader.frame(next, size, 0).map(|frame| frame.record) {
        Ok(Record::Sealed { key }) => Ok(Some((head, Some(key)))),
        Ok(_) | Err(Error::Damaged { .. }) => Ok(Some((head, None))),
        Err(error) => Err(error),
    }
}

/// Reads the whole file.
pub(crate) fn recover(file: &Arc<dyn File>) -> Result<Recovered, Error> {
    let mut recovered = Recovered {
        size: file.size()?,
        end: MAGIC.len() as u64,
        ..Recovered::default()
    };
    let size = recovered.size;
    let mut reader = Reader::new(Arc::clone(file));
    if reader.bytes(0, MAGIC.len())? != MAGIC {
        return Err(Error::Damaged { at: 0 });
    }
    let mut staged = None;
    let mut at = recovered.end;
    while at < size {
        let frame = match reader.frame(at, size, 64 * 1024) {
            Ok(frame) => frame,
            Err(Error::Damaged { .. }) => break,
            Err(error) => return Err(error),
        };
        let next = frame.place.end();
        if !recovered.take(frame, &mut staged) {
            break;
        }
        at = next;
    }
    if at < size && vouched_beyond(&mut reader, at, size)? {
        return Err(Error::Damaged { at });
    }
    Ok(recovered)
}

impl Recovered {
    /// Takes one frame; `false` when it cannot stand where it stands, which is as bad as not being whole.
    fn take(&mut self, frame: Frame<'_>, staged: &mut Option<Staged>) -> bool {
        let place = frame.place;
        match (frame.record, staged.as_mut()) {
            (Record::Head(_), Some(_)) => return false,
            (Record::Head(_), None) if place.offset != MAGIC.len() as u64 => return false,
            (Record::Head(_), None) => {}
            // Before anything that it seals.
            (Record::Sealed { .. }, None) if self.complete.is_none() => {}
            (Record::Sealed { .. }, _) => return false,
            (Record::Begin, None) => {
                *staged = Some(Staged {
                    check: record::fold(0, frame.head),
                    ..Staged::default()
                });
                return true;
            }
            (Record::Complete { version, check }, Some(open)) => {
                if check != open.check || Some(version) < self.complete {
                    return false;
                }
                if let Some(open) = staged.take() {
                    self.complete(version, open);
                }
            }
            (Record::Begin, Some(_)) | (Record::Mark { .. }, Some(_)) => return false,
            (record, Some(open)) => {
                open.check = record::fold(open.check, frame.head);
                return open.take(record, place);
            }
            (Record::Type { .. } | Record::Oldest { .. }, None) => return false,
            (Record::Put(item) | Record::Delete(item), None) if item.staged => return false,
            (Record::Put(item), None) if !self.follows(&item, false) => return false,
            (Record::Delete(item), None) if !self.follows(&item, true) => return false,
            (Record::Put(item), None) => {
                self.index.put(item.key, item.version, place);
                self.advance(item.version);
            }
            (Record::Delete(item), None) => {
                self.index.delete(item.key, item.version, place);
                self.advance(item.version);
            }
            (Record::Complete { version, check }, None) => {
                // The end of a list has a check; one that stands alone has none, and is later than what was known.
                if check != 0 || self.complete.is_none_or(|complete| version <= complete) {
                    return false;
                }
                self.advance(version);
            }
            // It vouches for what stands before it: further down the file once, it has moved.
            (Record::Mark { synced, .. }, None) if synced > place.offset => return false,
            (Record::Mark { fresh, .. }, None) => self.fresh = self.fresh.max(fresh),
        }
        self.end = place.end();
        true
    }

    /// Whether an event can stand behind what was read before it. One that cannot is whole and of another time: a
    /// sector that was never written here, or was and is not the one that should be.
    fn follows(&self, item: &Item<'_>, deleted: bool) -> bool {
        match self.index.find(item.key) {
            Some(entry) => {
                // Some servers delete at the version of the object itself.
                let newer =
                    item.version > entry.version || deleted && item.version == entry.version;
                newer && item.previous.is_none_or(|place| place == entry.place)
            }
            None => !deleted && item.previous.is_none(),
        }
    }

    fn advance(&mut self, version: u64) {
        self.complete = self.complete.max(Some(version));
    }

    fn complete(&mut self, version: u64, open: Staged) {
        self.index.merge(open.puts, open.deletes);
        match open.oldest {
            Some(oldest) => self.index.raise(oldest),
            None if self.complete.is_none() => self.index.raise(version),
            None => {}
        }
        self.complete = Some(version);
        self.listed = version;
        if open.type_meta.is_some() {
            self.type_meta = open.type_meta;
        }
    }
}

impl Staged {
    fn take(&mut self, record: Record<'_>, place: Place) -> bool {
        let entry = |item: Item<'_>| Entry {
            key: item.key.into(),
            version: item.version,
            place,
        };
        match record {
            Record::Put(item) if item.staged => self.puts.push(entry(item)),
            Record::Delete(item) if item.staged => self.deletes.push(entry(item)),
            Record::Oldest { version } => self.oldest = Some(version),
            Record::Type {
                kind,
                api_version,
                typed,
                protobuf,
            } => {
                self.type_meta = Some(TypeMeta {
                    kind: kind.to_owned(),
                    api_version: api_version.to_owned(),
                    typed,
                    encoding: record::encoding(protobuf),
                });
            }
            Record::Put(_)
            | Record::Delete(_)
            | Record::Head(_)
            | Record::Sealed { .. }
            | Record::Begin
            | Record::Complete { .. }
            | Record::Mark { .. } => return false,
        }
        true
    }
}

/// Whether a mark between `at` and `size` says that the byte at `at` was synced.
fn vouched_beyond(reader: &mut Reader, at: u64, size: u64) -> Result<bool, Error> {
    const STEP: usize = 64 * 1024;
    let mut from = at;
    while from < size {
        // A little more than a step, so that a mark across two steps is seen whole.
        let bytes = reader.bytes(from, STEP + MARK_LEN)?;
        if record::vouched(bytes).is_some_and(|synced| synced > at) {
            return Ok(true);
        }
        from = from.saturating_add(STEP as u64);
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::flash::Flash;
    use crate::io::flash::memory::Memory;
    use crate::state::mirror::testing;
    use crate::wire::record::FRAME_HEAD;

    fn item(key: &str, version: u64, staged: bool) -> Item<'_> {
        Item {
            key,
            version,
            typed: true,
            staged,
            previous: None,
            object: b"{}",
        }
    }

    /// A file of these frames; the check of each `Complete` is made right when it is 1.
    fn file(records: &[Record<'_>]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        let head = Head::new(&testing::collection("pods"));
        record::append(&mut bytes, &Record::Head(head)).expect("short");
        let mut check = 0;
        for record in records {
            let record = match record {
                Record::Complete { version, check: 1 } => Record::Complete {
                    version: *version,
                    check,
                },
                Record::Begin => {
                    check = 0;
                    Record::Begin
                }
                record => record.clone(),
            };
            let place = record::append(&mut bytes, &record).expect("short");
            let frame = bytes.get(place.offset as usize..).expect("appended");
            check = record::fold(check, *frame.first_chunk::<FRAME_HEAD>().expect("a head"));
        }
        bytes
    }

    /// C, and how many objects there are.
    fn found(bytes: &[u8]) -> Result<(Option<u64>, usize), Error> {
        let flash = Memory::default();
        flash.put("a", bytes);
        let recovered = recover(&flash.open("a")?)?;
        Ok((recovered.complete, recovered.index.entries().len()))
    }

    const END: Record<'_> = Record::Complete {
        version: 5,
        check: 1,
    };

    #[test]
    fn frames_of_an_abandoned_list_count_neither_within_the_next_nor_behind_it() {
        let list = |b: u64| {
            file(&[
                Record::Begin,
                Record::Put(item("/a", 3, true)),
                Record::Put(item("/b", b, true)),
                END,
            ])
        };
        let (old, new) = (list(4), list(5));
        assert_eq!(found(&new).expect("whole"), (Some(5), 2));
        // The cut of the old list came undone for one sector: all frames are whole, and the list is a mixture.
        let differs = |at: &usize| old[*at] != new[*at];
        let first = (0..new.len()).find(differs).expect("different");
        let mut mixed = new.clone();
        let end = new.len() - 20;
        mixed[first..end].copy_from_slice(&old[first..end]);
        assert_ne!(mixed, old);
        assert_eq!(found(&mixed).expect("torn"), (None, 0));

        let list = [Record::Begin, Record::Put(item("/a", 3, true)), END];
        let event = Record::Put(item("/b", 7, false));
        let behind = |stale: Record<'static>| {
            let records = [&list[..], &[event.clone(), stale]].concat();
            found(&file(&records)).expect("torn")
        };
        assert_eq!(behind(Record::Put(item("/c", 9, true))), (Some(7), 2));
        assert_eq!(behind(Record::Delete(item("/a", 9, true))), (Some(7), 2));
        assert_eq!(behind(Record::Begin), (Some(7), 2));
        assert_eq!(behind(Record::Delete(item("/a", 9, false))), (Some(9), 1));
    }

    #[test]
    fn an_event_within_a_list_and_a_second_head_are_refused() {
        let begun = [Record::Begin, Record::Put(item("/a", 3, true))];
        for stray in [
            Record::Put(item("/b", 7, false)),
            Record::Begin,
            Record::Mark {
                synced: 0,
                fresh: 0,
            },
            Record::Head(Head::new(&testing::collection("pods"))),
        ] {
            let records = [&begun[..], &[stray, END]].concat();
            assert_eq!(found(&file(&records)).expect("torn"), (None, 0));
        }
        let whole = [&begun[..], &[END]].concat();
        assert_eq!(found(&file(&whole)).expect("whole"), (Some(5), 1));
    }

    #[test]
    fn whole_frames_of_another_time_do_not_follow_what_stands_before_them() {
        let list = [Record::Begin, Record::Put(item("/a", 3, true)), END];
        let at = |offset| Some(Place { offset, len: 30 });
        let stale = [
            Record::Put(item("/a", 3, false)),
            Record::Delete(item("/a", 2, false)),
            Record::Delete(item("/b", 9, false)),
            Record::Put(Item {
                previous: at(8),
                ..item("/a", 9, false)
            }),
            Record::Put(Item {
                previous: at(8),
                ..item("/b", 9, false)
            }),
        ];
        for stale in stale {
            let records = [&list[..], std::slice::from_ref(&stale)].concat();
            let found = found(&file(&records)).expect("torn");
            assert_eq!(found, (Some(5), 1), "{stale:?}");
        }
        let older = Record::Complete {
            version: 4,
            check: 1,
        };
        let records = [&list[..], &[Record::Begin, older]].concat();
        assert_eq!(found(&file(&records)).expect("torn"), (Some(5), 1));
        for (version, check, known) in [(9, 0, 9), (9, 7, 5), (5, 0, 5)] {
            let records = [&list[..], &[Record::Complete { version, check }]].concat();
            let found = found(&file(&records)).expect("torn");
            assert_eq!(found, (Some(known), 1), "{version} {check}");
        }
    }

    #[test]
    fn a_mark_that_vouches_for_what_stands_behind_it_has_moved() {
        let list = [Record::Begin, Record::Put(item("/a", 3, true)), END];
        let at = file(&list).len() as u64;
        let with = |synced| {
            let event = Record::Put(item("/b", 9, false));
            let mark = Record::Mark { synced, fresh: 0 };
            found(&file(&[&list[..], &[mark, event]].concat()))
        };
        assert_eq!(with(at).expect("whole"), (Some(9), 2));
        assert!(matches!(with(at + 1), Err(Error::Damaged { at: broken }) if broken == at));
    }

    #[test]
    fn a_mark_across_two_steps_of_the_search_is_seen() {
        let mut bytes = file(&[Record::Begin, Record::Put(item("/a", 3, true)), END]);
        let broken = bytes.len() as u64;
        for filler in (64 * 1024 - 30)..(64 * 1024 + 5) {
            bytes.resize(broken as usize, 0);
            bytes.resize(broken as usize + filler, b'x');
            let mark = |synced| Record::Mark { synced, fresh: 0 };
            let without = bytes.len();
            record::append(&mut bytes, &mark(broken)).expect("short");
            assert_eq!(found(&bytes).expect("torn"), (Some(5), 1));
            bytes.truncate(without);
            record::append(&mut bytes, &mark(broken + 1)).expect("short");
            assert!(matches!(found(&bytes), Err(Error::Damaged { at }) if at == broken));
        }
    }
}
