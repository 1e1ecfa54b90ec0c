//! What stands where in a log's file: a sorted list of the objects that are there, and the latest deletions.

use std::collections::VecDeque;

use crate::k8s::order;
use crate::wire::record::Place;

/// An object that is there.
#[derive(Debug)]
pub(crate) struct Entry {
    /// `NAMESPACE/NAME`.
    pub(crate) key: Box<str>,
    pub(crate) version: u64,
    pub(crate) place: Place,
}

// A thousand objects must not cost more than 40 KB beside their keys.
const _: () = assert!(size_of::<Entry>() <= 40);

/// A record and the version that it is delivered at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Versioned {
    pub(crate) version: u64,
    pub(crate) place: Place,
}

/// How many deletions are kept for watches that come back.
const TOMBSTONES: usize = 256;

/// How many bytes of deletions are kept.
const TOMBSTONE_BYTES: u64 = 256 * 1024;

/// The index of one log.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Sorted by key.
    entries: Vec<Entry>,
    /// In the order in which they came.
    tombstones: VecDeque<Versioned>,
    oldest: u64,
    entry_bytes: u64,
    tombstone_bytes: u64,
}

impl Index {
    /// Sorted by key.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Deletions, oldest first.
    pub(crate) fn tombstones(&self) -> impl Iterator<Item = &Versioned> {
        self.tombstones.iter()
    }

    /// L: every deletion after this version is known.
    pub(crate) fn oldest(&self) -> u64 {
        self.oldest
    }

    /// The bytes of all frames that the index points to.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.entry_bytes.saturating_add(self.tombstone_bytes)
    }

    /// Where `key` is among the entries, or would be.
    pub(crate) fn position(&self, key: &str) -> Result<usize, usize> {
        self.entries
            .binary_search_by(|entry| entry.key.as_ref().cmp(key))
    }

    /// The entry of `key`.
    pub(crate) fn find(&self, key: &str) -> Option<&Entry> {
        self.entries.get(self.position(key).ok()?)
    }

    /// An object is there, new or changed.
    pub(crate) fn put(&mut self, key: &str, version: u64, place: Place) {
        self.entry_bytes += u64::from(place.len);
        match self.position(key) {
            Ok(at) => {
                if let Some(entry) = self.entries.get_mut(at) {
                    self.entry_bytes -= u64::from(entry.place.len);
                    (entry.version, entry.place) = (version, place);
                }
            }
            Err(at) => self.entries.insert(
                at,
                Entry {
                    key: key.into(),
                    version,
                    place,
                },
            ),
        }
    }

    /// An object is gone; `version` and `place` are those of the deletion.
    pub(crate) fn delete(&mut self, key: &str, version: u64, place: Place) {
        if let Ok(at) = self.position(key) {
            let entry = self.entries.remove(at);
            self.entry_bytes -= u64::from(entry.place.len);
        }
        self.bury(Versioned { version, place });
    }

    /// Applies a whole snapshot: first the deletions, then what is there, of which a later one replaces an earlier.
    pub(crate) fn merge(&mut self, puts: Vec<Entry>, deletes: Vec<Entry>) {
        for gone in &deletes {
            self.bury(Versioned {
                version: gone.version,
                place: gone.place,
            });
        }
        let mut gone: Vec<Box<str>> = deletes.into_iter().map(|entry| entry.key).collect();
        order::natural(&mut gone);
        self.entries
            .retain(|entry| gone.binary_search(&entry.key).is_err());
        if self.entries.is_empty() {
            self.entries = puts;
        } else {
            self.entries.extend(puts);
        }
        // Stable, and quick on runs that are sorted already, as lists are.
        order::by(&mut self.entries, |a, b| a.key.cmp(&b.key));
        self.entries.dedup_by(|later, earlier| {
            let same = later.key == earlier.key;
            if same {
                std::mem::swap(later, earlier);
            }
            same
        });
        self.entries.shrink_to_fit();
        self.entry_bytes = self.entries.iter().map(|e| u64::from(e.place.len)).sum();
    }

    /// Deletions up to `oldest` are not wanted any more.
    pub(crate) fn raise(&mut self, oldest: u64) {
        self.oldest = self.oldest.max(oldest);
        self.tombstones.retain(|gone| gone.version > oldest);
        self.tombstone_bytes = self.tombstones.iter().map(|t| u64::from(t.place.len)).sum();
    }

    /// All that happened after `version`, condensed to the last of each object, in the order of versions.
    pub(crate) fn since(&self, version: u64) -> Vec<Versioned> {
        let there = self.entries.iter().map(|entry| Versioned {
            version: entry.version,
            place: entry.place,
        });
        let mut since: Vec<Versioned> = self
            .tombstones
            .iter()
            .copied()
            .chain(there)
            .filter(|record| record.version > version)
            .collect();
        order::by_key(&mut since, |record| record.version);
        since
    }

    /// Gives every place its new one; `false`, with nothing changed, when `moved` does not know one of them.
    pub(crate) fn relocate(&mut self, moved: impl Fn(Place) -> Option<Place>) -> bool {
        let entries: Option<Vec<Place>> = self.entries.iter().map(|e| moved(e.place)).collect();
        let buried: Option<Vec<Place>> = self.tombstones.iter().map(|t| moved(t.place)).collect();
        let (Some(entries), Some(buried)) = (entries, buried) else {
            return false;
        };
        for (entry, place) in self.entries.iter_mut().zip(entries) {
            entry.place = place;
        }
        for (tombstone, place) in self.tombstones.iter_mut().zip(buried) {
            tombstone.place = place;
        }
        self.entry_bytes = self.entries.iter().map(|e| u64::from(e.place.len)).sum();
        self.tombstone_bytes = self.tombstones.iter().map(|t| u64::from(t.place.len)).sum();
        true
    }

    /// Keeps a deletion, and lets go of the oldest ones beyond the bounds: who left before them cannot be told any
    /// more what is gone.
    fn bury(&mut self, tombstone: Versioned) {
        self.tombstone_bytes += u64::from(tombstone.place.len);
        self.tombstones.push_back(tombstone);
        while (self.tombstones.len() > TOMBSTONES || self.tombstone_bytes > TOMBSTONE_BYTES)
            && let Some(dropped) = self.tombstones.pop_front()
        {
            self.tombstone_bytes -= u64::from(dropped.place.len);
            self.oldest = self.oldest.max(dropped.version);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(offset: u64) -> Place {
        Place { offset, len: 10 }
    }

    fn entry(key: &str, version: u64) -> Entry {
        Entry {
            key: key.into(),
            version,
            place: place(version),
        }
    }

    fn keys(index: &Index) -> Vec<(&str, u64)> {
        let entries = index.entries.iter();
        entries.map(|e| (e.key.as_ref(), e.version)).collect()
    }

    #[test]
    fn a_snapshot_replaces_what_it_names_and_the_last_of_a_key_wins() {
        let mut index = Index::default();
        for (key, version) in [("b", 2), ("a", 1), ("d", 4)] {
            index.put(key, version, place(version));
        }
        index.merge(
            vec![entry("c", 5), entry("a", 6), entry("c", 7), entry("d", 9)],
            vec![entry("d", 8), entry("b", 8), entry("z", 8)],
        );
        assert_eq!(keys(&index), [("a", 6), ("c", 7), ("d", 9)]);
        assert_eq!(index.live_bytes(), 60);
        let since: Vec<u64> = index.since(6).iter().map(|v| v.version).collect();
        assert_eq!(since, [7, 8, 8, 8, 9]);
    }

    #[test]
    fn deletions_are_bounded_and_the_low_water_mark_tells_from_where_they_are_known() {
        let mut index = Index::default();
        for version in 1..=300 {
            index.put("a", version, place(version));
            index.delete("a", version, place(version));
        }
        assert_eq!((index.tombstones.len(), index.oldest()), (256, 44));
        assert_eq!(index.since(44).len(), 256);
        index.raise(299);
        assert_eq!((index.tombstones.len(), index.live_bytes()), (1, 10));
        let large = Place {
            offset: 0,
            len: TOMBSTONE_BYTES as u32 + 1,
        };
        index.delete("a", 301, large);
        assert_eq!((index.live_bytes(), index.oldest()), (0, 301));
    }

    #[test]
    fn bytes_follow_the_entries_and_places_move_all_or_none() {
        let mut index = Index::default();
        index.put("a", 1, place(1));
        index.put("a", 2, place(2));
        index.put("b", 3, place(3));
        index.delete("b", 4, place(4));
        assert_eq!(index.live_bytes(), 20);
        let double = |from: Place| {
            (from.offset != 4).then_some(Place {
                offset: from.offset * 2,
                len: 7,
            })
        };
        assert!(!index.relocate(double));
        assert_eq!(index.find("a").map(|e| e.place.offset), Some(2));
        index.raise(4);
        assert!(index.relocate(double));
        assert_eq!(index.find("a").map(|e| e.place.offset), Some(4));
        assert_eq!((index.live_bytes(), index.find("b").is_none()), (7, true));
    }
}
