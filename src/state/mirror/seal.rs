//! Sealed collections: those whose objects nobody must read on flash (`rule::retention::sealed`).
//!
//! The file of one is like any other, with two differences. Behind its `Head` stands `Sealed`, which says by which key, so
//! that a file of another key (or one that was written before it was to be sealed) is known and dropped at the start, as
//! damage is. And the object of each `Put` and `Delete` is what `io::crypto` makes of it: 28 bytes longer, and bound to
//!
//! ```text
//! 32 bytes  SHA-256 of the frame of the file's Head: whose collection it is
//! u64 LE    the record's version
//! u8        1 if it is typed
//! the rest  the record's key
//! ```
//!
//! so that a record of one place opens in no other. Keys (`NAMESPACE/NAME`), versions, sizes and times stay readable. A
//! compaction copies records as they are. What can't be opened counts as damaged.

use std::borrow::Cow;

use crate::io::crypto;
use crate::k8s::collection::Collection;
use crate::rule::retention;
use crate::state::mirror::Error;
use crate::state::mirror::Shared;
use crate::state::mirror::log::Log;
use crate::state::mirror::log::Stored;
use crate::wire::record;
use crate::wire::record::Head;
use crate::wire::record::Item;
use crate::wire::record::Record;

/// What the records of a sealed collection are bound to; none when it is not sealed.
pub(crate) fn bound(name: &Collection) -> Option<[u8; 32]> {
    retention::sealed(&name.resource).then(|| {
        let mut frame = Vec::new();
        let head = record::append(&mut frame, &Record::Head(Head::new(name)));
        debug_assert!(head.is_ok(), "a head is never too long");
        crypto::sha256(&frame)
    })
}

impl Shared {
    /// Which key the file of a collection must name; none when it is not sealed.
    pub(crate) fn key_id(&self, name: &Collection) -> Option<u64> {
        retention::sealed(&name.resource).then(|| self.key.id())
    }
}

impl Log {
    /// The record that stands behind the head.
    pub(crate) fn seal_record(&self) -> Option<Record<'static>> {
        let key = self.bound.is_some().then(|| self.shared.key.id());
        key.map(|key| Record::Sealed { key })
    }

    /// The object of an item as it is written.
    pub(crate) fn seal<'a>(&self, item: &Item<'a>) -> Result<Cow<'a, [u8]>, Error> {
        Ok(match &self.bound {
            None => Cow::Borrowed(item.object),
            Some(bound) => Cow::Owned(self.shared.key.seal(&of(bound, item), item.object)?),
        })
    }

    /// An item as it was read, opened; none when its key is no key or it can't be opened.
    pub(crate) fn stored(&self, item: &Item<'_>) -> Option<Stored> {
        let mut opened = Vec::new();
        Stored::of(&self.open(*item, &mut opened)?)
    }

    /// A record's item with its object opened, into `buffer` where the file is sealed.
    pub(crate) fn open<'a>(&self, item: Item<'a>, buffer: &'a mut Vec<u8>) -> Option<Item<'a>> {
        let Some(bound) = &self.bound else {
            return Some(item);
        };
        *buffer = self.shared.key.open(&of(bound, &item), item.object)?;
        Some(Item {
            object: buffer,
            ..item
        })
    }
}

fn of(bound: &[u8; 32], item: &Item<'_>) -> Vec<u8> {
    let version = item.version.to_le_bytes();
    [
        &bound[..],
        &version,
        &[u8::from(item.typed)],
        item.key.as_bytes(),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::io::crypto::Key;
    use crate::io::flash::memory::Memory;
    use crate::k8s::object::ResourceVersion;
    use crate::state::mirror::Mirror;
    use crate::state::mirror::Options;
    use crate::state::mirror::testing;
    use crate::wire::record::FRAME_HEAD;
    use crate::wire::record::MAGIC;

    const VALUES: [&[u8]; 3] = [b"hunter2-first", b"hunter2-second", b"hunter2-third"];

    fn with_key(flash: &Memory, key: [u8; 32]) -> Rc<Mirror> {
        let options = Options {
            sync_window: Duration::ZERO,
            stamp: |_, _| None,
            same: |_, _| true,
            cap: 64 << 20,
        };
        Mirror::open(Arc::new(flash.clone()), options, Key::new(&key)).expect("a folder")
    }

    /// Secrets listed, changed and deleted, synced and compacted or not.
    async fn lived(flash: &Memory) -> Rc<Log> {
        let mirror = testing::open(flash);
        let name = testing::collection("secrets");
        let log = mirror.ensure(&name, Duration::ZERO).expect("a log");
        let mut writer = log.writer().expect("free");
        writer.begin(Some(&testing::type_meta())).expect("a list");
        for (number, value) in (1..).zip(VALUES) {
            let version = ResourceVersion(number);
            let key = testing::key(number);
            let item = writer.item(&key, version, true, value);
            item.await.expect("an item");
        }
        let of = testing::type_meta();
        let commit = writer.commit(ResourceVersion(3), &of);
        commit.await.expect("a list");
        let (first, second) = (testing::key(1), testing::key(2));
        let put = writer.put(&first, ResourceVersion(4), false, VALUES[1]);
        put.expect("an event");
        let gone = writer.delete(&second, ResourceVersion(5), false, VALUES[1]);
        gone.expect("an event");
        log
    }

    /// The frames of a file behind its magic.
    fn frames(bytes: &[u8]) -> Vec<Record<'_>> {
        let mut rest = &bytes[MAGIC.len()..];
        let mut frames = Vec::new();
        while !rest.is_empty() {
            let len = record::frame_len(&rest[..FRAME_HEAD]).expect("a frame") as usize;
            frames.push(record::parse(&rest[..len]).expect("whole"));
            rest = &rest[len..];
        }
        frames
    }

    fn file(records: &[Record<'_>]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for record in records {
            record::append(&mut bytes, record).expect("short");
        }
        bytes
    }

    #[test]
    fn nothing_of_an_object_is_on_flash_and_all_of_it_is_read_again() {
        smol::block_on(async {
            let flash = Memory::default();
            let log = lived(&flash).await;
            let bytes = flash.bytes(&log.file_name).expect("a file");
            assert!(!bytes.windows(7).any(|part| part == b"hunter2"));
            for log in [
                Rc::clone(&log),
                testing::open(&flash.after_kill())
                    .find(log.name())
                    .expect("complete"),
            ] {
                let (version, objects) = testing::content(&log).expect("opened").expect("complete");
                let values: Vec<&[u8]> = objects.values().map(|(_, o)| o.as_slice()).collect();
                assert_eq!((version, &values[..]), (5, &[VALUES[1], VALUES[2]][..]));
            }
        });
    }

    #[test]
    fn a_compaction_copies_what_is_sealed_as_it_is() {
        smol::block_on(async {
            let flash = Memory::default();
            let log = lived(&flash).await;
            let flash = flash.after_kill();
            let mirror = testing::open(&flash);
            let log = mirror.find(log.name()).expect("complete");
            let mut writer = log.writer().expect("free");
            let large = VALUES[0].repeat(1_000);
            let key = testing::key(1);
            for version in 6..30 {
                let put = writer.put(&key, ResourceVersion(version), false, &large);
                put.expect("an event");
            }
            let before = log.file_bytes();
            mirror.tend(std::time::Instant::now()).await;
            assert!(log.file_bytes() < before / 4, "{}", log.file_bytes());
            let bytes = flash.bytes(&log.file_name).expect("a file");
            assert!(!bytes.windows(7).any(|part| part == b"hunter2"));
            let (_, objects) = testing::content(&log).expect("opened").expect("complete");
            let values: Vec<&[u8]> = objects.values().map(|(_, o)| o.as_slice()).collect();
            assert_eq!(values, [&large[..], VALUES[2]]);
        });
    }

    #[test]
    fn an_unchanged_list_writes_nothing() {
        smol::block_on(async {
            let flash = Memory::default();
            let log = lived(&flash).await;
            let operations = flash.operations();
            let mut writer = log.writer().expect("free");
            writer.begin(Some(&testing::type_meta())).expect("a list");
            for (number, version, value) in [(1, 4, VALUES[1]), (3, 3, VALUES[2])] {
                let version = ResourceVersion(version);
                let key = testing::key(number);
                let item = writer.item(&key, version, true, value);
                item.await.expect("an item");
            }
            let of = testing::type_meta();
            let commit = writer.commit(ResourceVersion(9), &of);
            assert_eq!(commit.await.expect("a list"), Default::default());
            assert_eq!(flash.operations(), operations);
        });
    }

    #[test]
    fn another_key_drops_what_is_sealed_at_the_start_and_leaves_the_rest() {
        smol::block_on(async {
            let flash = Memory::default();
            let (_, plain) = testing::filled(&flash, 3, 10).await;
            let sealed = lived(&flash).await;
            let mirror = with_key(&flash, [8; 32]);
            assert!(mirror.find(sealed.name()).is_none());
            assert!(mirror.find(plain.name()).is_some());
            assert_eq!(flash.list_names(), [plain.file_name.as_str()]);
            // It goes on with the key that it has.
            let again = mirror.ensure(sealed.name(), Duration::ZERO).expect("a log");
            let mut writer = again.writer().expect("free");
            writer.begin(None).expect("a list");
            testing::items(&mut writer, 1..=2, 10).await;
            let of = testing::type_meta();
            let commit = writer.commit(ResourceVersion(7), &of);
            commit.await.expect("a list");
            let mirror = with_key(&flash.after_kill(), [8; 32]);
            assert_eq!(mirror.find(sealed.name()).map(|log| log.len()), Some(2));
        });
    }

    #[test]
    fn a_file_that_was_written_before_it_was_to_be_sealed_is_dropped() {
        smol::block_on(async {
            let flash = Memory::default();
            let log = lived(&flash).await;
            let bytes = flash.bytes(&log.file_name).expect("a file");
            let mut records = frames(&bytes);
            assert_eq!(records.remove(1), log.seal_record().expect("sealed"));
            let old = Memory::default();
            old.put(&log.file_name, &file(&records));
            assert!(testing::open(&old).find(log.name()).is_none());
            assert!(old.list_names().is_empty(), "secrets don't stay readable");
        });
    }

    #[test]
    fn a_record_that_stands_in_anothers_place_is_damage() {
        smol::block_on(async {
            let flash = Memory::default();
            let log = lived(&flash).await;
            let bytes = flash.bytes(&log.file_name).expect("a file");
            let records = frames(&bytes);
            let event = |records: &[Record<'_>]| {
                let at = |record: &Record<'_>| matches!(record, Record::Put(item) if !item.staged);
                records.iter().position(at).expect("an event")
            };
            let theirs = records.iter().find_map(|record| match record {
                Record::Put(item) if item.key == "/o003" => Some(*item),
                _ => None,
            });
            let theirs = theirs.expect("the third");
            let changes: [fn(&mut Item<'_>); 3] = [
                |item| item.version += 1,
                |item| item.typed = !item.typed,
                |item| item.key = "/o000",
            ];
            for change in 0..=changes.len() {
                let mut records = records.clone();
                let at = event(&records);
                let Record::Put(item) = &mut records[at] else {
                    panic!("an event");
                };
                match changes.get(change) {
                    // The bytes of another object, whole and sealed with this very key.
                    None => item.object = theirs.object,
                    Some(change) => {
                        change(item);
                        item.previous = None;
                    }
                }
                records.truncate(at + 1);
                let flash = Memory::default();
                flash.put(&log.file_name, &file(&records));
                let mirror = testing::open(&flash);
                let found = mirror.find(log.name()).expect("every frame is whole");
                let read = testing::content(&found);
                assert!(matches!(read, Err(Error::Damaged { .. })), "{read:?}");
                assert!(mirror.find(log.name()).is_none() && flash.list_names().is_empty());
            }
        });
    }
}
