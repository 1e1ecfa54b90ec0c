//! One log: its file, its index, and the questions that can be asked of it.

use std::cell::Cell;
use std::cell::RefCell;
use std::cell::RefMut;
use std::future::Future;
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::io::flash::File;
use crate::io::latest::Notify;
use crate::k8s::collection::Collection;
use crate::k8s::object::ObjectKey;
use crate::k8s::object::ResourceVersion;
use crate::state::mirror::Error;
use crate::state::mirror::Shared;
use crate::state::mirror::TypeMeta;
use crate::state::mirror::reader::Reader;
use crate::state::mirror::seal;
use crate::state::mirror::state::State;
use crate::wire::record;
use crate::wire::record::Item;
use crate::wire::record::Place;
use crate::wire::record::Record;

/// One collection's log. Shared as `Rc<Log>`.
pub struct Log {
    pub(crate) name: Collection,
    pub(crate) file_name: String,
    pub(crate) shared: Rc<Shared>,
    /// What its records are bound to when it is sealed.
    pub(crate) bound: Option<[u8; 32]>,
    pub(crate) state: RefCell<State>,
    /// Something was appended, committed or reset.
    pub(crate) changed: Notify,
    pub(crate) writing: Cell<bool>,
    pub(crate) released: Notify,
    /// When it was last asked for, in turns of the mirror's count.
    pub(crate) used: Cell<u64>,
}

/// An object as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Namespace and name.
    pub key: ObjectKey,
    /// The object's own version; of a deletion, the version of the deletion.
    pub version: ResourceVersion,
    /// The bytes are an item of a typed list: without `kind` and `apiVersion`.
    pub typed: bool,
    /// JSON as it came.
    pub object: Vec<u8>,
}

/// What is known about one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// It is there.
    Found(Stored),
    /// The collection is complete and it is not in it.
    Absent,
    /// The collection is not complete.
    Unknown,
}

impl Stored {
    /// An item as it was read and opened; none when its key is no key.
    pub(crate) fn of(item: &Item<'_>) -> Option<Self> {
        Some(Self {
            key: ObjectKey::parse(item.key)?,
            version: ResourceVersion(item.version),
            typed: item.typed,
            object: item.object.to_vec(),
        })
    }
}

impl Log {
    /// A log that has no file yet.
    pub(crate) fn new(
        name: Collection,
        file_name: String,
        shared: Rc<Shared>,
        sync_window: Duration,
    ) -> Self {
        Self {
            bound: seal::bound(&name),
            name,
            file_name,
            shared,
            state: RefCell::new(State::new(sync_window)),
            changed: Notify::new(),
            writing: Cell::new(false),
            released: Notify::new(),
            used: Cell::new(0),
        }
    }

    /// A log whose file of `size` bytes was found; it is read at first use.
    pub(crate) fn found(
        name: Collection,
        file_name: String,
        shared: Rc<Shared>,
        sync_window: Duration,
        size: u64,
    ) -> Self {
        let log = Self::new(name, file_name, shared, sync_window);
        {
            let mut state = log.state.borrow_mut();
            (state.exists, state.loaded, state.end) = (true, false, size);
        }
        log
    }

    /// Which collection it is.
    pub fn name(&self) -> &Collection {
        &self.name
    }

    /// C as it is written: what clients may be told. None before the first list is complete, and after a reset.
    pub fn complete(&self) -> Option<ResourceVersion> {
        self.state.borrow().complete.map(ResourceVersion)
    }

    /// The version that the collection is known to be complete at, written or not: where to resume upstream. Never
    /// below [`complete`](Self::complete).
    pub fn ahead(&self) -> Option<ResourceVersion> {
        let state = self.state.borrow();
        state.complete.max(state.ahead).map(ResourceVersion)
    }

    /// The highest version that clients were told of: C, or that of a list that differed in nothing from what is held.
    pub fn told(&self) -> Option<ResourceVersion> {
        let state = self.state.borrow();
        state
            .complete
            .map(|complete| ResourceVersion(complete.max(state.listed)))
    }

    /// A list at `version` that somebody else was given held what is held here. Remembered, not written.
    pub fn listed(&self, version: ResourceVersion) {
        let mut state = self.state.borrow_mut();
        if state.complete.is_some_and(|complete| complete <= version.0) && !state.staged {
            state.listed = state.listed.max(version.0);
            state.ahead = state.ahead.max(Some(version.0));
        }
    }

    /// Counts the lists that have moved the log: what came and went between two versions is not known when it has changed.
    pub fn jumps(&self) -> u32 {
        self.state.borrow().jumps
    }

    /// L: a watch can be replayed from this version on.
    pub fn oldest(&self) -> ResourceVersion {
        ResourceVersion(self.state.borrow().index.oldest())
    }

    /// What the objects are, once a list said so.
    pub fn type_meta(&self) -> Option<TypeMeta> {
        self.state.borrow().type_meta.clone()
    }

    /// How many objects are there.
    pub fn len(&self) -> usize {
        self.state.borrow().index.entries().len()
    }

    /// Whether no object is there, which is not the same as not being known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// When the collection was last said to be [`fresh`](Self::fresh), seconds since 1970; 0 when never.
    pub fn touched(&self) -> u64 {
        self.state.borrow().fresh
    }

    /// The collection is current at `now` (seconds since 1970). Goes to flash with later changes, never by itself.
    pub fn fresh(&self, now: u64) {
        self.state.borrow_mut().fresh = now;
    }

    /// The version of the object with this key.
    pub fn version_of(&self, key: &str) -> Option<ResourceVersion> {
        let state = self.state.borrow();
        state.index.find(key).map(|e| ResourceVersion(e.version))
    }

    /// One object.
    pub fn lookup(&self, key: &ObjectKey) -> Result<Lookup, Error> {
        let mut state = self.state.borrow_mut();
        if state.complete.is_none() {
            return Ok(Lookup::Unknown);
        }
        let Some(place) = state.index.find(key.as_str()).map(|entry| entry.place) else {
            return Ok(Lookup::Absent);
        };
        let file = self.file(&mut state)?;
        self.read(&mut state, &file, place).map(Lookup::Found)
    }

    /// Wakes who waits for a change though there is none: what is shown of the objects has changed.
    pub fn wake(&self) {
        self.changed.notify();
    }

    /// Ready at the next append, commit or reset after this call.
    pub fn changed(&self) -> impl Future<Output = ()> {
        self.changed.wait()
    }

    /// The file, opened if it is not.
    pub(crate) fn file(&self, state: &mut State) -> Result<Arc<dyn File>, Error> {
        state.used = true;
        if let Some(file) = &state.file {
            return Ok(Arc::clone(file));
        }
        if state.gone {
            return Err(Error::Gone);
        }
        // A full table of descriptors passes; a file that is not there does not come back.
        match self.shared.flash.open(&self.file_name) {
            Ok(file) => Ok(self.hold(state, file)),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(self.lose(state, error.into()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the file.
    pub(crate) fn create(&self, state: &mut State) -> Result<Arc<dyn File>, Error> {
        let file = self.shared.flash.create(&self.file_name);
        let file = file.map_err(|error| self.stall(state, error.into()))?;
        (state.exists, state.named) = (true, false);
        Ok(self.hold(state, file))
    }

    /// From now on this is the open file.
    pub(crate) fn hold(&self, state: &mut State, file: Arc<dyn File>) -> Arc<dyn File> {
        state.file = Some(Arc::clone(&file));
        self.shared.work.notify();
        file
    }

    /// Reads an object of `file`; bytes that have changed lose the log.
    pub(crate) fn read(
        &self,
        state: &mut State,
        file: &Arc<dyn File>,
        place: Place,
    ) -> Result<Stored, Error> {
        let stored = match Reader::new(Arc::clone(file)).at(place, 0) {
            Ok(Record::Put(item) | Record::Delete(item)) => self.stored(&item),
            Ok(_) => None,
            Err(Error::Damaged { .. }) => None,
            Err(error) => return Err(error),
        };
        let damaged = Error::Damaged { at: place.offset };
        stored.ok_or_else(|| self.lose(state, damaged))
    }

    /// Appends whole committed frames in line: a short write to the page cache.
    pub(crate) fn append(&self, state: &mut State, frames: &[u8]) -> Result<(), Error> {
        if state.read_only {
            return Err(Error::ReadOnly);
        }
        let end = state.end.saturating_add(frames.len() as u64);
        if !self.shared.room(self, end) {
            return Err(self.stall(state, Error::Full));
        }
        let file = self.file(state)?;
        if let Err(error) = file.write_at(frames, state.end) {
            return Err(self.stall(state, error.into()));
        }
        self.count(frames.len());
        self.committed(state, end);
        Ok(())
    }

    /// The committed part ends at `end` now, and what is new of it must be synced.
    pub(crate) fn committed(&self, state: &mut State, end: u64) {
        (state.end, state.stalled) = (end, false);
        state.places = Default::default();
        if !std::mem::replace(&mut state.dirty, true) || self.wants_compaction(state) {
            self.shared.work.notify();
        }
    }

    pub(crate) fn count(&self, written: usize) {
        let before = self.shared.written.get();
        self.shared
            .written
            .set(before.saturating_add(written as u64));
    }

    /// What the first write after a sync starts with.
    pub(crate) fn mark(&self, state: &State, buffer: &mut Vec<u8>) -> Result<(), Error> {
        if state.synced > state.marked {
            let (synced, fresh) = (state.synced, state.fresh);
            record::append(buffer, &Record::Mark { synced, fresh })?;
        }
        Ok(())
    }

    /// Something could not be written. What was committed stands, and is what the log says from now on; what failed is cut
    /// off, so that nothing of it comes back behind what is written next. Readers must start anew: they would wait for
    /// what is not here. The error is given back, for the caller.
    pub(crate) fn stall(&self, state: &mut State, error: Error) -> Error {
        if state.gone {
            return error;
        }
        ::log::error!(
            "mirror: nothing is added to collection={} now: {error}",
            self.name
        );
        if state.complete.is_none() {
            self.clear(state);
            return error;
        }
        (state.epoch, state.staged) = (state.epoch.wrapping_add(1), false);
        state.stalled = true;
        let file = state
            .file
            .clone()
            .map_or_else(|| self.shared.flash.open(&self.file_name), Ok);
        if file.and_then(|file| file.truncate(state.end)).is_err() {
            state.read_only = true;
        }
        self.changed.notify();
        error
    }

    /// Drops the log for good: what it says cannot be relied on. The error is given back, for the caller.
    pub(crate) fn lose(&self, state: &mut State, error: Error) -> Error {
        if !state.gone {
            ::log::error!("mirror: dropping collection={}: {error}", self.name);
            self.clear(state);
            state.gone = true;
            self.shared.work.notify();
        }
        error
    }

    /// Forgets everything, the file too. Readers must start anew.
    pub(crate) fn clear(&self, state: &mut State) {
        if state.exists {
            self.shared.remove(&self.file_name);
        }
        state.clear();
        self.changed.notify();
        self.released.notify();
    }

    /// [`Mirror::forget`](crate::state::mirror::Mirror::forget).
    pub(crate) fn forget(&self) {
        let mut state = self.state.borrow_mut();
        if !state.gone {
            self.clear(&mut state);
            state.gone = true;
            self.shared.work.notify();
        }
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.state.borrow().gone
    }

    pub(crate) fn is_writing(&self) -> bool {
        self.writing.get()
    }

    pub(crate) fn is_failing(&self) -> bool {
        let state = self.state.borrow();
        state.read_only || state.unsound || state.stalled
    }

    /// The bytes of its file that count.
    pub fn file_bytes(&self) -> u64 {
        self.state.borrow().end
    }

    pub(crate) fn set_sync_window(&self, sync_window: Duration) {
        self.state.borrow_mut().sync_window = sync_window;
    }

    /// Cuts the file back to its committed part; a file without one goes.
    pub(crate) fn cut(&self, state: &mut State) {
        if state.end == 0 {
            self.shared.remove(&self.file_name);
            (state.exists, state.file) = (false, None);
            return;
        }
        let cut = match self.file(state) {
            Ok(file) => file.truncate(state.end).map_err(Error::from),
            Err(error) => Err(error),
        };
        if let Err(error) = cut {
            self.stall(state, error);
        }
    }

    /// The state, for the modules beside this one.
    pub(crate) fn state(&self) -> RefMut<'_, State> {
        self.state.borrow_mut()
    }
}
