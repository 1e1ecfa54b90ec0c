//! What one client has seen, and the rules that what it sees next must keep.
//!
//! - A **list** that was answered 200 is exactly what the client's selection shows of a state of the server at the version
//!   it says. It is not older than what the client has seen: of a version not below, or of a lower one between which and
//!   the other nothing changed that the selection shows (a version that nothing happened at is not written to flash). Only
//!   a 410 or 504 before it excuses more. An epoch that everybody has left never comes back.
//! - An **event** ADDED or MODIFIED is the very state that was written at its version, and of the same object (uid) as the
//!   store holds. DELETED is of an object that the server does not show at that version; or, when only a list told of it
//!   (the line, the agent or the server's history was disturbed since the watch began), at a version up to that of a state
//!   that does not show it.
//! - The **versions** of one stream grow, and begin behind the one it was opened at; only deletions may share one, which a
//!   list told. Nothing comes at a version up to a bookmark's.
//! - After a **bookmark**, and after the first events of a watch that brings them, the store is exactly the state then.
//! - What happened after the stream was opened is ADDED if the store has it not, MODIFIED and DELETED if it has. What is
//!   replayed may be any of them (kubernetes-wire 3.6, rule 5); the log is compacted at any time, and a reader behind it
//!   replayed to.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::form::Listed;
use super::form::Said;
use super::history::History;
use super::history::Selection;
use super::history::Store;
use super::history::Thing;

/// One client's past.
#[derive(Debug)]
pub(crate) struct Seen {
    selection: Selection,
    /// The epochs that what it has seen may be of; empty before the first list.
    epochs: BTreeSet<usize>,
    /// The newest version it knows; what it watches from.
    pub(crate) version: u64,
    /// The newest version it ever knew in these epochs.
    floor: u64,
    pub(crate) store: Store,
    /// It was told by 410 or 504 that its version is no good.
    pub(crate) excused: bool,
}

/// One watch.
#[derive(Debug)]
pub(crate) struct Stream {
    /// The last version that was told on it.
    last: u64,
    last_deleted: bool,
    /// Events up to this version may be replayed: what the server had when the first of them came, for then the agent had
    /// gathered them.
    replay: u64,
    begun: bool,
    disturbed: u64,
    /// The client stopped reading for a while: the agent may have had to replay.
    pub(crate) stalled: bool,
}

type Checked = Result<(), String>;

impl Seen {
    /// A client that has seen nothing.
    pub(crate) fn new(selection: Selection) -> Self {
        Self {
            selection,
            epochs: BTreeSet::new(),
            version: 0,
            floor: 0,
            store: Store::new(),
            excused: false,
        }
    }

    /// Whether it has exactly what the server has now.
    pub(crate) fn is_current(&self, history: &History) -> bool {
        let current = history.current();
        self.ongoing(history).contains(&current)
            && self.store == history.state(current, history.now(), &self.selection)
    }

    /// Takes in what was found to be of the epochs `epochs`.
    fn settle(&mut self, epochs: BTreeSet<usize>, version: u64, store: Store) {
        let same = self.epochs.is_empty() || !epochs.is_disjoint(&self.epochs);
        self.floor = if same && !self.excused {
            self.floor.max(version)
        } else {
            version
        };
        self.epochs = epochs;
        self.version = version;
        self.store = store;
        self.excused = false;
    }

    /// The epochs that what was seen up to now may go on in.
    fn ongoing(&self, history: &History) -> BTreeSet<usize> {
        let reached = |&epoch: &usize| epoch..=history.reaches(epoch, self.version);
        self.epochs.iter().flat_map(reached).collect()
    }

    /// A list, answered to a request that was sent when `least` was the history's. `recent`: it asked for what the server has
    /// now, which may be of a new epoch without another word.
    pub(crate) fn list(
        &mut self,
        history: &History,
        listed: Listed,
        least: usize,
        recent: bool,
    ) -> Checked {
        if listed.more {
            return Err("a page of a list that nobody asked to be paged".into());
        }
        let count = listed.things.len();
        let things = listed.things.into_iter();
        let store: Store = things
            .map(|thing| (thing.key.clone(), Arc::new(thing)))
            .collect();
        if store.len() != count {
            return Err("an object stands twice in a list".into());
        }
        self.whole(history, store, listed.version, least, recent)
    }

    /// A whole state: a list, or the first events of a watch.
    pub(crate) fn whole(
        &mut self,
        history: &History,
        store: Store,
        version: u64,
        least: usize,
        recent: bool,
    ) -> Checked {
        let epochs: BTreeSet<usize> = (least..=history.current())
            .filter(|epoch| version <= history.top(*epoch))
            .filter(|epoch| history.state(*epoch, version, &self.selection) == store)
            .collect();
        if epochs.is_empty() {
            let had = history.state(history.current(), version, &self.selection);
            return Err(format!(
                "at {version} the server never had {}; in the last epoch it had {}",
                names(&store),
                names(&had)
            ));
        }
        if self.epochs.is_empty() {
            self.settle(epochs, version, store);
            return Ok(());
        }
        let ongoing = self.ongoing(history);
        let oldest = ongoing.first().copied().unwrap_or(0);
        let fits = |epoch: &usize| {
            if self.excused {
                return *epoch >= oldest;
            }
            if !ongoing.contains(epoch) {
                return recent && *epoch > oldest;
            }
            version >= self.floor || store == history.state(*epoch, self.floor, &self.selection)
        };
        let fitting: BTreeSet<usize> = epochs.iter().copied().filter(fits).collect();
        if fitting.is_empty() {
            return Err(format!(
                "time went back: at {version} of epoch {epochs:?} it is {}; {} of epoch {ongoing:?} was seen: {}",
                names(&store),
                self.floor,
                names(&self.store)
            ));
        }
        self.settle(fitting, version, store);
        Ok(())
    }

    /// A watch begins where the client is.
    pub(crate) fn open(&self, history: &History) -> Stream {
        Stream {
            last: self.version,
            last_deleted: false,
            replay: history.highest(),
            begun: false,
            disturbed: history.disturbed,
            stalled: false,
        }
    }

    /// An event; whether the stream goes on.
    pub(crate) fn event(&mut self, history: &History, stream: &mut Stream, said: Said) -> Checked {
        if !std::mem::replace(&mut stream.begun, true) {
            stream.replay = history.highest();
        }
        let ongoing = self.ongoing(history);
        let (version, deleted, epochs) = match &said {
            Said::Error(_) => return Ok(()),
            Said::Bookmark { version, .. } => {
                if *version < stream.last {
                    return Err(format!("a bookmark at {version} behind {}", stream.last));
                }
                let told = |epoch: &usize| {
                    *version <= history.top(*epoch)
                        && history.state(*epoch, *version, &self.selection) == self.store
                };
                let epochs: BTreeSet<usize> = ongoing.iter().copied().filter(told).collect();
                if epochs.is_empty() {
                    let last = ongoing.last().copied().unwrap_or(0);
                    return Err(format!(
                        "a gap: at the bookmark {version} the client has {}, the server had {}",
                        names(&self.store),
                        names(&history.state(last, *version, &self.selection))
                    ));
                }
                (*version, false, epochs)
            }
            Said::Added(thing) | Said::Modified(thing) => {
                let added = matches!(said, Said::Added(_));
                let epochs = self.changed(history, stream, &ongoing, thing, added)?;
                self.store
                    .insert(thing.key.clone(), Arc::new(thing.clone()));
                (thing.version, false, epochs)
            }
            Said::Deleted(thing) => {
                let epochs = self.deleted(history, stream, &ongoing, thing)?;
                self.store.remove(&thing.key);
                (thing.version, true, epochs)
            }
        };
        let bookmark = matches!(said, Said::Bookmark { .. });
        let shared = version == stream.last && (bookmark || deleted && stream.last_deleted);
        if version <= stream.last && !shared {
            return Err(format!("{said:?} came behind {}", stream.last));
        }
        stream.last = version;
        stream.last_deleted = deleted;
        self.epochs = epochs;
        self.version = self.version.max(version);
        self.floor = self.floor.max(version);
        Ok(())
    }

    fn changed(
        &self,
        history: &History,
        stream: &Stream,
        ongoing: &BTreeSet<usize>,
        thing: &Thing,
        added: bool,
    ) -> Result<BTreeSet<usize>, String> {
        let was = |epoch: &usize| {
            let written = history.at(*epoch, thing.version, &thing.key);
            self.selection.admits(thing) && written.is_some_and(|written| **written == *thing)
        };
        let epochs: BTreeSet<usize> = ongoing.iter().copied().filter(was).collect();
        if epochs.is_empty() {
            return Err(format!(
                "the server never had {thing:?} for this selection, epochs {ongoing:?}"
            ));
        }
        let held = self.store.get(&thing.key);
        if held.is_some_and(|held| held.uid != thing.uid) {
            return Err(format!(
                "{thing:?} came over another object of its name, which was not deleted"
            ));
        }
        if added == held.is_some() && thing.version > stream.replay && !stream.stalled {
            return Err(match held {
                Some(held) => format!("ADDED of what the client has: {held:?}"),
                None => format!("MODIFIED of what the client has not: {thing:?}"),
            });
        }
        Ok(epochs)
    }

    fn deleted(
        &self,
        history: &History,
        stream: &Stream,
        ongoing: &BTreeSet<usize>,
        thing: &Thing,
    ) -> Result<BTreeSet<usize>, String> {
        if self.selection.hides(&thing.key) {
            return Err(format!("{thing:?} must never be told"));
        }
        let held = self.store.get(&thing.key);
        if held.is_some_and(|held| held.uid != thing.uid) {
            return Err(format!(
                "{thing:?} is of another object than the client has"
            ));
        }
        if held.is_none() && thing.version > stream.replay && !stream.stalled {
            return Err(format!("DELETED of what the client has not: {thing:?}"));
        }
        let told_by_list = stream.disturbed != history.disturbed || thing.version <= stream.replay;
        let gone = |epoch: usize, version: u64| {
            let there = history.at(epoch, version, &thing.key);
            !there.is_some_and(|there| there.uid == thing.uid && self.selection.admits(there))
        };
        let right = |epoch: &usize| {
            let moments = history.moments(*epoch, thing.version, &thing.key);
            thing.version <= history.top(*epoch)
                && history
                    .states(*epoch, thing.version, &thing.key)
                    .any(|state| state.content == thing.content)
                && (gone(*epoch, thing.version)
                    || told_by_list && moments.iter().any(|moment| gone(*epoch, *moment)))
        };
        let epochs: BTreeSet<usize> = ongoing.iter().copied().filter(right).collect();
        if epochs.is_empty() {
            return Err(format!(
                "phantom delete: the server shows it, or never had it so: {thing:?}"
            ));
        }
        Ok(epochs)
    }
}

/// Objects and their versions.
pub(crate) fn names(store: &Store) -> String {
    let names: Vec<String> = store
        .values()
        .map(|thing| format!("{}@{}", thing.key, thing.version))
        .collect();
    format!("[{}]", names.join(" "))
}
