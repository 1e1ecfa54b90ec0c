//! The logs of a mirror, by collection.
//!
//! In the order of their collections, in a vector: a node has some hundreds at the most, and a map's code weighs more.

use std::ops::Deref;
use std::rc::Rc;

use crate::k8s::collection::Collection;
use crate::state::mirror::log::Log;

/// One log for each collection.
#[derive(Default)]
pub(super) struct Logs(Vec<Rc<Log>>);

impl Logs {
    fn place(&self, name: &Collection) -> Result<usize, usize> {
        self.0.binary_search_by(|log| log.name().cmp(name))
    }

    /// The log of a collection.
    pub(super) fn find(&self, name: &Collection) -> Option<&Rc<Log>> {
        self.0.get(self.place(name).ok()?)
    }

    /// Takes in a log; the one of the same collection that it replaces.
    pub(super) fn insert(&mut self, log: Rc<Log>) -> Option<Rc<Log>> {
        match self.place(log.name()) {
            Ok(at) => self.0.get_mut(at).map(|held| std::mem::replace(held, log)),
            Err(at) => {
                self.0.insert(at, log);
                None
            }
        }
    }

    /// Lets the log of a collection go.
    pub(super) fn remove(&mut self, name: &Collection) -> Option<Rc<Log>> {
        let at = self.place(name).ok()?;
        Some(self.0.remove(at))
    }

    /// Lets the logs go that are gone.
    pub(super) fn sweep(&mut self) {
        self.0.retain(|log| !log.is_gone());
    }
}

impl Deref for Logs {
    type Target = [Rc<Log>];

    fn deref(&self) -> &[Rc<Log>] {
        &self.0
    }
}
