//! Guesses what the next object of a list will be: what is held, in key order, for most of a list is what it was before.

use std::rc::Rc;

use crate::k8s::object::ObjectKey;
use crate::state::mirror::Error;
use crate::state::mirror::log::Log;
use crate::state::mirror::reader::AHEAD;
use crate::state::mirror::reader::Reader;
use crate::wire::record::Item;
use crate::wire::record::Record;

/// A place in a log, in key order, that goes along with a list. It costs one buffer.
pub struct Guesses {
    log: Rc<Log>,
    reader: Option<Reader>,
    /// The object that was read, where the file is sealed.
    opened: Vec<u8>,
    /// Of which file the reader is.
    generation: Option<u32>,
    next: usize,
}

/// What is held at some place.
pub struct Guess<'a> {
    /// How many objects of the log are before it.
    pub at: usize,
    /// The object.
    pub item: Item<'a>,
}

impl Guesses {
    /// Guesses from the first object of `log` on.
    pub fn new(log: Rc<Log>) -> Self {
        Self {
            log,
            reader: None,
            opened: Vec::new(),
            generation: None,
            next: 0,
        }
    }

    /// The next guess; the same one until [`right`](Self::right) or [`after`](Self::after) says where the list is. `None` at
    /// the end of the log. Bytes that have changed on flash lose the log.
    pub fn guess(&mut self) -> Result<Option<Guess<'_>>, Error> {
        let mut state = self.log.state();
        let entries = state.index.entries();
        let Some(place) = entries.get(self.next).map(|entry| entry.place) else {
            return Ok(None);
        };
        let following = entries.get(self.next + 1);
        let ahead = match following {
            Some(next) if next.place.offset == place.end() => AHEAD,
            _ => 0,
        };
        if self.generation != Some(state.generation) {
            self.reader = Some(Reader::new(self.log.file(&mut state)?));
            self.generation = Some(state.generation);
        }
        let Some(reader) = &mut self.reader else {
            return Ok(None);
        };
        match reader.at(place, ahead) {
            Ok(Record::Put(item)) => match self.log.open(item, &mut self.opened) {
                Some(item) => Ok(Some(Guess {
                    at: self.next,
                    item,
                })),
                None => {
                    let damaged = Error::Damaged { at: place.offset };
                    Err(self.log.lose(&mut state, damaged))
                }
            },
            Ok(_) | Err(Error::Damaged { .. }) => {
                let damaged = Error::Damaged { at: place.offset };
                Err(self.log.lose(&mut state, damaged))
            }
            Err(error) => Err(error),
        }
    }

    /// The list held what was guessed.
    pub fn right(&mut self) {
        self.next += 1;
    }

    /// The list held the object of this key.
    pub fn after(&mut self, key: &ObjectKey) {
        let position = self.log.state().index.position(key.as_str());
        self.next = position.map_or_else(|at| at, |at| at + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::flash::memory::Memory;
    use crate::k8s::object::ResourceVersion;
    use crate::state::mirror::testing;

    /// Keys and versions of what is guessed when all guesses are right.
    fn all(guesses: &mut Guesses) -> Vec<(usize, String, u64)> {
        let mut all = Vec::new();
        while let Some(guess) = guesses.guess().expect("readable") {
            all.push((guess.at, guess.item.key.to_owned(), guess.item.version));
            guesses.right();
        }
        all
    }

    #[test]
    fn it_goes_along_in_key_order_and_finds_its_place_again() {
        smol::block_on(async {
            let (_mirror, log) = testing::filled(&Memory::default(), 4, 10).await;
            let mut guesses = Guesses::new(Rc::clone(&log));
            let expected = |from: u64| {
                let numbers = from..=4;
                let each = numbers.map(|n| (n as usize - 1, testing::key(n).as_str().into(), n));
                each.collect::<Vec<_>>()
            };
            assert_eq!(all(&mut guesses), expected(1));
            guesses.after(&testing::key(2));
            assert_eq!(all(&mut guesses), expected(3));
            guesses.after(&ObjectKey::new("", "o0015"));
            assert_eq!(all(&mut guesses), expected(2));
            let mut writer = log.writer().expect("free");
            testing::put(&mut writer, 3, 9, 5000);
            testing::delete(&mut writer, 4, 10);
            guesses.after(&testing::key(1));
            let found: Vec<u64> = all(&mut guesses).into_iter().map(|g| g.2).collect();
            assert_eq!(found, [2, 9], "it is what the log holds now");
        });
    }

    #[test]
    fn what_is_unchanged_counts_as_listed_and_the_rest_as_gone() {
        smol::block_on(async {
            let (mirror, log) = testing::filled(&Memory::default(), 4, 10).await;
            let written = mirror.stats().written_bytes;
            let mut writer = log.writer().expect("free");
            for (kept, version, left) in [(4, 7, 4), (3, 8, 3)] {
                writer.begin(None).expect("a list");
                (0..kept).for_each(|at| writer.unchanged(at).expect("it is held"));
                let changed = writer
                    .commit(ResourceVersion(version), &testing::type_meta())
                    .await
                    .expect("a list");
                assert_eq!((changed.puts, changed.deletes), (0, 4 - kept));
                assert_eq!(log.len(), left);
                assert_eq!(mirror.stats().written_bytes == written, kept == 4);
            }
            writer.begin(None).expect("a list");
            assert!(writer.unchanged(3).is_err(), "there is none");
        });
    }

    #[test]
    fn bytes_that_have_changed_lose_the_log() {
        smol::block_on(async {
            let flash = Memory::default();
            let (mirror, log) = testing::filled(&flash, 4, 10).await;
            let place = log.state().index.entries()[2].place;
            let file = log.file(&mut log.state()).expect("it is there");
            file.write_at(b"?", place.end() - 3).expect("written");
            let mut guesses = Guesses::new(Rc::clone(&log));
            for _ in 0..2 {
                assert!(matches!(guesses.guess(), Ok(Some(_))));
                guesses.right();
            }
            assert!(matches!(guesses.guess(), Err(Error::Damaged { .. })));
            assert!(mirror.find(log.name()).is_none());
            assert!(matches!(guesses.guess(), Ok(None)));
        });
    }
}
