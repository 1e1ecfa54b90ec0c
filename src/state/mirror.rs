//! The mirror: one log per collection, on flash and in memory.
//!
//! A [`Log`] is the snapshot that a cut-off node is served from, the history that a watch is replayed from, and the
//! queue between the one upstream watch and any number of local ones. Its file is `wire::record`'s format; its index in
//! memory says where in the file each object stands. One [`Writer`] at a time feeds it; [`Snapshot`]s and [`Cursor`]s
//! read it.
//!
//! # What is on flash when
//!
//! What is written is in the page cache at once and visible to readers at once; it survives the process. It survives a
//! power cut once [`Mirror::run`] has synced it, at most the collection's sync window later. A version that nothing
//! changed up to (a bookmark, an unchanged list) is only remembered, and written with the next change or by
//! [`Mirror::close`]: an idle node writes nothing. Clients are told the written version, so after a power cut they
//! are ahead by the unsynced window at most; what `recover` finds then is a state the server had.
//!
//! # What goes wrong
//!
//! When something can't be written (a full disk, a medium that has become read only), the collection stays as it was
//! committed last, nothing is added to it, and its readers must start anew. Bytes that changed on flash are another
//! matter: the collection is dropped, from memory and if possible from flash, for unknown is an answer that clients can
//! live with, half a list is not. The others stand.

use std::cell::Cell;
use std::cell::RefCell;
use std::rc::Rc;
use std::rc::Weak;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use crate::io::crypto::Key;
use crate::io::flash::Flash;
use crate::io::latest::Notify;
use crate::io::worker;
use crate::k8s::collection::Collection;
use crate::k8s::collection::Credential;
use crate::k8s::encoding::Encoding;
use crate::k8s::object::ResourceVersion;
use crate::k8s::order;
use crate::k8s::resource::GroupVersionResource;
use crate::state::mirror::logs::Logs;
use crate::wire::list::ListMeta;

pub use crate::state::mirror::cursor::Change;
pub use crate::state::mirror::cursor::Cursor;
pub use crate::state::mirror::cursor::Expired;
pub use crate::state::mirror::cursor::Next;
pub use crate::state::mirror::cursor::Previous;
pub use crate::state::mirror::error::Error;
pub use crate::state::mirror::guesses::Guesses;
pub use crate::state::mirror::log::Log;
pub use crate::state::mirror::log::Lookup;
pub use crate::state::mirror::log::Stored;
pub use crate::state::mirror::snapshot::Snapshot;
pub use crate::state::mirror::staging::Changed;
pub use crate::state::mirror::writer::Writer;

mod compaction;
#[cfg(test)]
mod crash;
mod cursor;
mod error;
mod guesses;
mod index;
mod log;
mod logs;
#[cfg(test)]
mod model;
mod reader;
mod recover;
mod room;
mod seal;
mod snapshot;
mod staging;
mod state;
#[cfg(test)]
mod testing;
mod upkeep;
mod writer;

/// What the objects of a collection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeMeta {
    /// `kind` of an object, without `List`.
    pub kind: String,
    /// `apiVersion` of an object.
    pub api_version: String,
    /// Lists are typed: their items have no `kind` and `apiVersion`. Custom resources' items have both.
    pub typed: bool,
    /// How they are written.
    pub encoding: Encoding,
}

impl TypeMeta {
    /// The type of the objects of a list whose kind is `kind` and `List`: the API server writes the type of a typed list
    /// first and that of a list of custom resources, whose items have their own, behind the items.
    pub fn of_list(kind: &str, meta: &ListMeta, encoding: Encoding) -> Self {
        Self {
            kind: kind.to_owned(),
            api_version: meta.api_version.clone(),
            typed: meta.typed,
            encoding,
        }
    }
}

/// Gives an object another `metadata.resourceVersion`; `None` when it cannot be found in it.
pub type Stamp = fn(&[u8], ResourceVersion) -> Option<Vec<u8>>;

/// Whether two states are of one object.
pub type Same = fn(&[u8], &[u8]) -> bool;

/// How the mirror works.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long a change may stay unsynced, for collections that were on flash and that nobody has asked for yet.
    pub sync_window: Duration,
    /// How a deleted object gets the version of the list that it is missing from.
    pub stamp: Stamp,
    /// Whether two states of a key are of one object, not of one that was deleted and another that was made.
    pub same: Same,
    /// How many bytes all collections together may hold on flash.
    pub cap: u64,
}

/// Figures for the operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Logs, complete or not.
    pub collections: usize,
    /// Objects in the logs whose index is loaded.
    pub objects: usize,
    /// Bytes of all files.
    pub file_bytes: u64,
    /// Bytes written since the start.
    pub written_bytes: u64,
    /// Syncs of files since the start.
    pub syncs: u64,
    /// Collections that had to leave for others since the start.
    pub evicted: u64,
    /// Collections that nothing can be added to, or that are not safe on flash.
    pub failing: usize,
}

/// What all logs of a mirror share.
pub(crate) struct Shared {
    flash: Arc<dyn Flash>,
    /// Seals the objects of sealed collections.
    key: Key,
    stamp: Stamp,
    same: Same,
    /// There may be something to sync, to compact or to close.
    work: Notify,
    written: Cell<u64>,
    syncs: Cell<u64>,
    /// A file was removed, and the folder was not synced since.
    removed: Cell<bool>,
    cap: u64,
    /// The mirror itself: who may have to leave for whom.
    mirror: Weak<Mirror>,
    evicted: Cell<u64>,
}

/// All collections that this node remembers.
pub struct Mirror {
    shared: Rc<Shared>,
    logs: RefCell<Logs>,
    /// The number of the next file.
    next: Cell<u32>,
    /// How often a collection was asked for.
    uses: Cell<u64>,
    sync_window: Duration,
}

/// What the name of a log's file ends with.
const LOG: &str = ".log";

/// What the name of a file ends with that a compaction has not finished.
const NEW: &str = ".new";

impl Mirror {
    /// The mirror in a folder of its own. Only the heads of the files are read. A file that is none of ours, or that
    /// cannot be read, is removed or left out; an error means that the folder itself cannot be read. `key` seals what
    /// nobody must read on flash; files that another key has sealed are removed.
    pub fn open(flash: Arc<dyn Flash>, options: Options, key: Key) -> Result<Rc<Self>, Error> {
        let mirror = Rc::new_cyclic(|mirror| Self {
            shared: Rc::new(Shared {
                flash,
                key,
                stamp: options.stamp,
                same: options.same,
                work: Notify::new(),
                written: Cell::new(0),
                syncs: Cell::new(0),
                removed: Cell::new(false),
                cap: options.cap,
                mirror: Weak::clone(mirror),
                evicted: Cell::new(0),
            }),
            logs: RefCell::default(),
            next: Cell::new(0),
            uses: Cell::new(0),
            sync_window: options.sync_window,
        });
        let mut names = mirror.shared.flash.list()?;
        // By number, so that of two files of one collection the later one stands.
        order::by_key(&mut names, |name| number(name));
        for name in names {
            mirror.next.set(
                mirror
                    .next
                    .get()
                    .max(number(&name).unwrap_or(0).saturating_add(1)),
            );
            if name.ends_with(LOG) {
                mirror.admit(name);
            } else if name.ends_with(NEW) {
                mirror.shared.remove(&name);
            }
        }
        Ok(mirror)
    }

    /// The log of a collection that is complete or being filled.
    pub fn find(&self, name: &Collection) -> Option<Rc<Log>> {
        let log = self.known(name)?;
        (log.complete().is_some() || log.is_writing()).then_some(log)
    }

    /// The log of a collection, made when there is none. It has no file before its first list begins. Changes are
    /// synced within `sync_window`. An error passes: the file is there and cannot be read now.
    pub fn ensure(&self, name: &Collection, sync_window: Duration) -> Result<Rc<Log>, Error> {
        if let Some(log) = self.loaded(name)? {
            log.set_sync_window(sync_window);
            return Ok(log);
        }
        let number = self.next.get();
        self.next.set(number.saturating_add(1));
        let log = Rc::new(Log::new(
            name.clone(),
            file_name(name, number),
            Rc::clone(&self.shared),
            sync_window,
        ));
        self.logs.borrow_mut().insert(Rc::clone(&log));
        Ok(log)
    }

    /// The complete logs that hold every object of `name`, its own among them, the one at the highest version first.
    pub fn broader(&self, name: &Collection) -> Vec<Rc<Log>> {
        self.complete(&|held| held.covers(name))
    }

    /// The complete logs of a resource that were asked for with one credential, the one at the highest version first.
    pub fn of_resource(
        &self,
        resource: &GroupVersionResource,
        credential: &Credential,
    ) -> Vec<Rc<Log>> {
        self.complete(&|held| held.resource == *resource && held.credential == *credential)
    }

    /// The version up to which the objects of a resource are known, whoever asked for them.
    pub fn latest(&self, resource: &GroupVersionResource) -> Option<ResourceVersion> {
        let logs = self.complete(&|held| held.resource == *resource);
        logs.iter().filter_map(|log| log.ahead()).max()
    }

    fn complete(&self, wanted: &dyn Fn(&Collection) -> bool) -> Vec<Rc<Log>> {
        let names: Vec<Collection> = self
            .logs
            .borrow()
            .iter()
            .map(|log| log.name())
            .filter(|held| wanted(held))
            .cloned()
            .collect();
        let found = names.iter().filter_map(|name| self.known(name));
        let mut found: Vec<Rc<Log>> = found.filter(|log| log.complete().is_some()).collect();
        order::by_key(&mut found, |log| std::cmp::Reverse(log.complete()));
        found
    }

    /// Drops a collection, its file too. Its readers are told that they must start anew.
    pub fn forget(&self, name: &Collection) {
        let log = self.logs.borrow_mut().remove(name);
        if let Some(log) = log {
            log.forget();
        }
    }

    /// Syncs and compacts what is due and closes the files that nobody uses, until it is dropped.
    pub async fn run(&self) {
        loop {
            let woken = self.shared.work.wait();
            let next = self.tend(Instant::now()).await;
            smol::future::or(woken, async {
                match next {
                    Some(at) => drop(smol::Timer::at(at).await),
                    None => std::future::pending().await,
                }
            })
            .await;
        }
    }

    /// Does what is due at `now`; when to come again at the latest, unless there is new work before.
    pub(crate) async fn tend(&self, now: Instant) -> Option<Instant> {
        let mut next = None;
        for log in self.logs() {
            log.compact_if_due().await;
            let due = log.sync_if_due(now).await;
            let idle = log.close_if_idle(now);
            next = [next, due, idle].into_iter().flatten().min();
        }
        self.logs.borrow_mut().sweep();
        if self.shared.removed.replace(false) {
            self.shared.sync_dir().await;
        }
        next
    }

    /// Writes the versions that were only remembered and syncs everything. The first error, after all was tried.
    pub async fn close(&self) -> Result<(), Error> {
        let mut outcome = Ok(());
        for log in self.logs() {
            let closed = match log.write_ahead() {
                Ok(()) => log.sync().await,
                Err(error) => Err(error),
            };
            outcome = outcome.and(closed);
        }
        if self.shared.removed.replace(false) {
            self.shared.sync_dir().await;
        }
        outcome
    }

    /// Figures for the operator.
    pub fn stats(&self) -> Stats {
        let logs = self.logs.borrow();
        Stats {
            collections: logs.len(),
            objects: logs.iter().map(|log| log.len()).sum(),
            file_bytes: logs.iter().map(|log| log.file_bytes()).sum(),
            written_bytes: self.shared.written.get(),
            syncs: self.shared.syncs.get(),
            evicted: self.shared.evicted.get(),
            failing: logs.iter().filter(|log| log.is_failing()).count(),
        }
    }

    /// The log with its index; none, and the file gone, when it is damaged. An error passes: no descriptor was free.
    fn loaded(&self, name: &Collection) -> Result<Option<Rc<Log>>, Error> {
        let Some(log) = self.logs.borrow().find(name).cloned() else {
            return Ok(None);
        };
        self.uses.set(self.uses.get().wrapping_add(1));
        log.used.set(self.uses.get());
        let loaded = log.load();
        if log.is_gone() {
            self.logs.borrow_mut().remove(name);
            return Ok(None);
        }
        loaded.map(|()| Some(log))
    }

    /// The log with its index, if it can be had now.
    fn known(&self, name: &Collection) -> Option<Rc<Log>> {
        self.loaded(name).unwrap_or_else(|error| {
            ::log::warn!("mirror: cannot read collection={name}: {error}");
            None
        })
    }

    /// Takes in a file that was found.
    fn admit(&self, file_name: String) {
        let opened = self.shared.flash.open(&file_name).map_err(Error::from);
        let read = opened.and_then(|file| Ok((recover::head(&file)?, file.size()?)));
        match read {
            Ok((head, size)) => match head
                .as_ref()
                .and_then(|(head, key)| Some((head.collection()?, *key)))
            {
                Some((name, key)) if key != self.shared.key_id(&name) => {
                    ::log::warn!(
                        "mirror: removing a file that can't be opened with this seal key collection={name}"
                    );
                    self.shared.remove(&file_name);
                }
                Some((name, _)) => {
                    let shared = Rc::clone(&self.shared);
                    let log = Log::found(name, file_name, shared, self.sync_window, size);
                    if let Some(older) = self.logs.borrow_mut().insert(Rc::new(log)) {
                        older.forget();
                    }
                }
                None => {
                    ::log::warn!("mirror: removing a file that is no log file={file_name}");
                    self.shared.remove(&file_name);
                }
            },
            Err(error) => ::log::warn!("mirror: leaving out file={file_name}: {error}"),
        }
    }

    /// All logs, read or not.
    pub fn logs(&self) -> Vec<Rc<Log>> {
        self.logs.borrow().to_vec()
    }
}

impl Shared {
    /// Removes a file, or leaves it when that fails: it is empty or old then, and goes at the next start.
    fn remove(&self, file_name: &str) {
        self.removed.set(true);
        if let Err(error) = self.flash.remove(file_name) {
            ::log::warn!("mirror: cannot remove file={file_name}: {error}");
        }
    }

    async fn sync_dir(&self) {
        let flash = Arc::clone(&self.flash);
        if let Err(error) = worker::run(move || flash.sync_dir()).await {
            ::log::warn!("mirror: cannot sync the folder: {error}");
            self.removed.set(true);
        }
    }
}

/// `RESOURCE-NUMBER.log`: the resource is for people only, the head inside says what it is.
fn file_name(name: &Collection, number: u32) -> String {
    let letters = name.resource.resource.chars();
    let resource: String = letters
        .filter(char::is_ascii_alphanumeric)
        .take(40)
        .collect();
    format!("{resource}-{number:08x}{LOG}")
}

fn number(file_name: &str) -> Option<u32> {
    let stem = file_name
        .strip_suffix(LOG)
        .or_else(|| file_name.strip_suffix(NEW))?;
    u32::from_str_radix(stem.rsplit_once('-')?.1, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::flash::Disk;
    use crate::io::flash::memory::Memory;
    use crate::state::mirror::testing::Clock;

    #[test]
    fn a_collection_is_found_when_it_is_complete_or_being_filled_and_also_after_a_restart() {
        smol::block_on(async {
            let flash = Memory::default();
            let mirror = testing::open(&flash);
            let name = testing::collection("pods");
            assert!(mirror.find(&name).is_none());
            let log = mirror.ensure(&name, Duration::ZERO).expect("a log");
            assert!(mirror.find(&name).is_none() && mirror.broader(&name).is_empty());
            let mut writer = log.writer().expect("free");
            assert!(mirror.find(&name).is_some() && log.writer().is_none());
            writer.begin(None).expect("a list");
            assert!(
                flash.list_names().is_empty(),
                "no file before there is a need"
            );
            let version = ResourceVersion(7);
            let changed = writer.commit(version, &testing::type_meta()).await;
            assert_eq!(changed.expect("an empty list"), Changed::default());
            drop(writer);
            log.fresh(1_790_000_000);
            mirror.tend(Clock::new().0).await;
            testing::put(&mut log.writer().expect("free"), 1, 8, 10);

            let again = testing::open(&flash.after_kill());
            assert_eq!(again.stats().file_bytes, mirror.stats().file_bytes);
            assert_eq!(again.stats().objects, 0, "not read before it is asked for");
            let log = again.find(&name).expect("complete");
            assert_eq!(log.complete(), Some(ResourceVersion(8)));
            assert_eq!(log.oldest(), version);
            assert_eq!(log.type_meta(), Some(testing::type_meta()));
            assert_eq!((log.touched(), log.len()), (1_790_000_000, 1));
            assert_eq!(log.version_of("/o001"), Some(ResourceVersion(8)));
            assert_eq!(again.broader(&name).len(), 1);
            assert!(again.find(&testing::collection("nodes")).is_none());
        });
    }

    #[test]
    fn a_forgotten_collection_is_gone_with_its_file_and_its_readers_know() {
        smol::block_on(async {
            let flash = Memory::default();
            let (mirror, log) = testing::filled(&flash, 3, 10).await;
            let mut cursor = log.cursor(ResourceVersion(3)).expect("C");
            let mut snapshot = log.snapshot().expect("readable").expect("complete");
            let mut writer = log.writer().expect("free");
            let changed = log.changed();
            mirror.forget(log.name());
            changed.await;
            assert!(matches!(cursor.next(), Ok(Next::Reset)));
            assert!(matches!(writer.begin(None), Err(Error::Gone)));
            assert!(snapshot.next().is_some_and(|stored| stored.is_ok()));
            assert!(mirror.find(log.name()).is_none());
            mirror.tend(Clock::new().0).await;
            let found = flash.after_power_cut(&mut crate::io::flash::memory::Random::new(1));
            assert!(found.list_names().is_empty());
        });
    }

    #[test]
    fn files_that_are_no_logs_are_removed_and_of_two_for_one_collection_the_later_stands() {
        smol::block_on(async {
            let flash = Memory::default();
            let (_, log) = testing::filled(&flash, 3, 10).await;
            let bytes = flash.bytes(&log.file_name).expect("a file");
            let flash = Memory::default();
            flash.put("pods-0000000a.log", &bytes);
            flash.put("pods-0000000b.log", &bytes);
            flash.put("pods-0000000c.new", &bytes);
            flash.put("pods-0000000d.log", b"rubbish");
            flash.put("empty-0000000e.log", b"");
            flash.put("of-another-kind", b"stays");
            let mirror = testing::open(&flash);
            assert_eq!(flash.list_names(), ["of-another-kind", "pods-0000000b.log"]);
            assert_eq!(mirror.stats().collections, 1);
            let other = testing::collection("../nodes");
            let log = mirror.ensure(&other, Duration::ZERO).expect("a log");
            assert_eq!(log.file_name, "nodes-0000000f.log");
        });
    }

    #[test]
    fn the_loop_syncs_what_was_written_on_a_real_disk() {
        let folder = std::env::temp_dir().join(format!("toono-mirror-{}", std::process::id()));
        smol::block_on(async {
            let disk = Disk::open(&folder).expect("a folder");
            let options = Options {
                sync_window: Duration::ZERO,
                stamp: |_, _| None,
                same: |_, _| true,
                cap: 64 << 20,
            };
            let mirror =
                Mirror::open(Arc::new(disk), options, testing::seal_key()).expect("a folder");
            let name = testing::collection("configmaps");
            let log = mirror.ensure(&name, Duration::ZERO).expect("a log");
            let work = async {
                let mut writer = log.writer_wait().await;
                writer.begin(None).expect("a list");
                testing::items(&mut writer, 1..=500, 300).await;
                let version = ResourceVersion(500);
                let changed = writer.commit(version, &testing::type_meta()).await;
                assert_eq!(changed.expect("a list").puts, 500);
                for version in 501..=900 {
                    testing::put(&mut writer, 1, version, 900);
                }
                while mirror.stats().syncs == 0 || log.file_bytes() > 600_000 {
                    smol::future::yield_now().await;
                }
            };
            smol::future::or(work, mirror.run()).await;
            mirror.close().await.expect("synced");
            let again = Disk::open(&folder).expect("a folder");
            let mirror =
                Mirror::open(Arc::new(again), options, testing::seal_key()).expect("a folder");
            let log = mirror.find(&name).expect("complete");
            let (version, objects) = testing::content(&log).expect("readable").expect("complete");
            assert_eq!((version, objects.len()), (900, 500));
        });
        drop(std::fs::remove_dir_all(folder));
    }
}
