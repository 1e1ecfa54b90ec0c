//! A list at one point in time, read object by object.

use std::rc::Rc;

use crate::k8s::object::ResourceVersion;
use crate::state::mirror::Error;
use crate::state::mirror::TypeMeta;
use crate::state::mirror::log::Log;
use crate::state::mirror::log::Stored;
use crate::state::mirror::reader::AHEAD;
use crate::state::mirror::reader::Reader;
use crate::state::mirror::state::State;
use crate::wire::record::Item;
use crate::wire::record::Place;
use crate::wire::record::Record;

/// All objects of a collection at version C, in key order. It costs 16 bytes an object, shared by all snapshots of the
/// same state, and one buffer; the objects are read one by one from the file, which it holds open. What happens to the
/// log meanwhile does not change it.
pub struct Snapshot {
    log: Rc<Log>,
    /// None when there is nothing to read.
    reader: Option<Reader>,
    /// The object that was read, where the file is sealed.
    opened: Vec<u8>,
    places: Rc<Vec<Place>>,
    next: usize,
    version: ResourceVersion,
    type_meta: Option<TypeMeta>,
}

impl Log {
    /// The objects as they are now; none when the collection is not complete.
    pub fn snapshot(self: &Rc<Self>) -> Result<Option<Snapshot>, Error> {
        let mut state = self.state();
        self.take_snapshot(&mut state)
    }

    pub(crate) fn take_snapshot(
        self: &Rc<Self>,
        state: &mut State,
    ) -> Result<Option<Snapshot>, Error> {
        let Some(version) = state.complete.map(ResourceVersion) else {
            return Ok(None);
        };
        let places = state.places.upgrade().unwrap_or_else(|| {
            let entries = state.index.entries().iter();
            let places = Rc::new(entries.map(|entry| entry.place).collect());
            state.places = Rc::downgrade(&places);
            places
        });
        let reader = if places.is_empty() {
            None
        } else {
            Some(Reader::new(self.file(state)?))
        };
        Ok(Some(Snapshot {
            log: Rc::clone(self),
            reader,
            opened: Vec::new(),
            places,
            next: 0,
            version,
            type_meta: state.type_meta.clone(),
        }))
    }
}

impl Snapshot {
    /// C: the version that the objects are complete at.
    pub fn version(&self) -> ResourceVersion {
        self.version
    }

    /// What the objects are.
    pub fn type_meta(&self) -> Option<&TypeMeta> {
        self.type_meta.as_ref()
    }

    /// How many objects there are, read or not.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The next object. After an error there is no more, and what was read is not the whole list.
    #[allow(
        clippy::should_implement_trait,
        reason = "it is read between awaits, nobody needs the adaptors"
    )]
    pub fn next(&mut self) -> Option<Result<Stored, Error>> {
        let stored = self.read()?.map(|item| Stored::of(&item));
        // One without a key was not given out.
        stored.transpose()
    }

    /// The same as [`next`](Self::next), in the buffer that it was read into.
    pub fn read(&mut self) -> Option<Result<Item<'_>, Error>> {
        let place = *self.places.get(self.next)?;
        self.next += 1;
        // Lists lie in key order in the file, so what comes next mostly stands behind this one.
        let following = self.places.get(self.next);
        let ahead = match following {
            Some(next) if next.offset == place.end() => AHEAD,
            _ => 0,
        };
        let error = match self.reader.as_mut()?.at(place, ahead) {
            Ok(Record::Put(item)) if item.key.as_bytes().contains(&b'/') => {
                if let Some(item) = self.log.open(item, &mut self.opened) {
                    return Some(Ok(item));
                }
                let damaged = Error::Damaged { at: place.offset };
                self.log.lose(&mut self.log.state(), damaged)
            }
            Ok(_) | Err(Error::Damaged { .. }) => {
                let damaged = Error::Damaged { at: place.offset };
                self.log.lose(&mut self.log.state(), damaged)
            }
            Err(error) => error,
        };
        self.next = self.places.len();
        Some(Err(error))
    }
}
