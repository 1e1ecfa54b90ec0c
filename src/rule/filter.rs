//! Which objects a client sees.
//!
//! Filters run on the way out, for lists, watches and gets, online and offline; the mirror holds what the cloud sent. On a
//! watch they have the semantics of a selector: an object that stops passing is deleted for the client, one that starts
//! passing is added.

pub mod nameprefix;

use crate::k8s::collection::Collection;
use crate::k8s::object::ObjectKey;

/// One rule.
pub trait Filter {
    /// Whether the client sees this object of this collection.
    fn admits(&self, collection: &Collection, key: &ObjectKey, object: &[u8]) -> bool;

    /// Whether the verdict depends on the collection and the key alone, so that it never changes.
    fn by_name(&self) -> bool;
}

/// Rules that an object must all pass.
#[derive(Default)]
pub struct Chain(Vec<Box<dyn Filter>>);

impl Chain {
    /// A chain of rules, asked in this order.
    pub fn new(filters: Vec<Box<dyn Filter>>) -> Self {
        Self(filters)
    }

    /// Whether everything passes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the client sees the object.
    pub fn admits(&self, collection: &Collection, key: &ObjectKey, object: &[u8]) -> bool {
        self.0
            .iter()
            .all(|filter| filter.admits(collection, key, object))
    }

    /// Whether no verdict ever changes.
    pub fn by_name(&self) -> bool {
        self.0.iter().all(|filter| filter.by_name())
    }
}

/// What a client hears of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is new to the client.
    Added,
    /// The client knows it.
    Modified,
    /// It is gone, or gone for the client.
    Deleted,
    /// It was never the client's.
    Swallowed,
}

/// What a client hears of a change to an object that passed before (`None`: nobody knows), passes `now`, or is `deleted`.
///
/// When nobody knows, as after a restart, the client is told of what passes as modified and of what does not as deleted:
/// clients take a modification of what they don't have for an addition, and ignore the deletion of what they don't have.
pub fn outcome(was: Option<bool>, now: bool, deleted: bool) -> Outcome {
    match (was, now && !deleted) {
        (Some(false), true) => Outcome::Added,
        (Some(true) | None, true) => Outcome::Modified,
        (Some(true) | None, false) => Outcome::Deleted,
        (Some(false), false) => Outcome::Swallowed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_through_a_filter_has_the_semantics_of_a_selector() {
        for (was, now, deleted, expected) in [
            (Some(false), true, false, Outcome::Added),
            (Some(true), true, false, Outcome::Modified),
            (Some(true), false, false, Outcome::Deleted),
            (Some(false), false, false, Outcome::Swallowed),
            (Some(true), true, true, Outcome::Deleted),
            (Some(false), true, true, Outcome::Swallowed),
            (None, true, false, Outcome::Modified),
            (None, false, false, Outcome::Deleted),
            (None, true, true, Outcome::Deleted),
        ] {
            assert_eq!(
                outcome(was, now, deleted),
                expected,
                "{was:?} {now} {deleted}"
            );
        }
    }
}
