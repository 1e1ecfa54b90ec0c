//! What can go wrong with a log, and whether it outlives it.

use std::fmt;
use std::io;

use crate::k8s::object::ResourceVersion;
use crate::wire::record::TooLong;

/// What can go wrong with a log.
#[derive(Debug)]
pub enum Error {
    /// The flash failed. What was committed before stands.
    Io(io::Error),
    /// There is no room: the collection is larger than its share, or nothing may leave for it.
    Full,
    /// The file can't be changed any more: it is on a medium that is read only now. What was committed stands.
    ReadOnly,
    /// The file does not say any more what was written, at this offset. The log is gone.
    Damaged {
        /// Offset in bytes.
        at: u64,
    },
    /// The log was forgotten or lost; ask the mirror for a new one.
    Gone,
    /// An event before the first list.
    Incomplete,
    /// A call that does not fit: an event while a list is staged, an item without one, or anything after a call that
    /// was dropped half-way. `begin` starts anew.
    OutOfTurn,
    /// The list is older than what is known: the server went back in time, or a server behind its peers answered.
    /// Nothing was changed; `reset` starts a new epoch.
    Behind {
        /// C.
        complete: ResourceVersion,
    },
    /// The object is larger than 8 MiB. As an item it ends the list; as an event it loses the log, which could not be
    /// complete any more.
    TooLong,
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<TooLong> for Error {
    fn from(_: TooLong) -> Self {
        Self::TooLong
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Full => f.write_str("there is no room left in the state folder's share"),
            Self::ReadOnly => f.write_str("its file is read only"),
            Self::Damaged { at } => write!(f, "damaged at byte {at}"),
            Self::Gone => f.write_str("the collection was dropped"),
            Self::Incomplete => f.write_str("the collection is not complete"),
            Self::OutOfTurn => f.write_str("a list was broken off or is being taken in"),
            Self::Behind { complete } => write!(f, "the list is older than version {complete}"),
            Self::TooLong => f.write_str("the object is too large"),
        }
    }
}

impl std::error::Error for Error {}
