//! What is wrong with bytes that should be an object, a list or a stream.

use std::fmt;

use crate::wire::json::DEPTH_LIMIT;

/// What is wrong with some JSON or protobuf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// It is not what it should be.
    Malformed {
        /// How many bytes into the input.
        at: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A part of it is larger than what is taken.
    TooLarge {
        /// In bytes.
        limit: usize,
    },
    /// It is nested more deeply than what is taken.
    TooDeep,
    /// It ended in the middle.
    Truncated,
}

impl Error {
    /// Something that can be read and is not what it should be.
    pub fn malformed(what: &'static str) -> Self {
        Self::Malformed { at: 0, what }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { at: 0, what } => f.write_str(what),
            Self::Malformed { at, what } => write!(f, "{what} at byte {at}"),
            Self::TooLarge { limit } => write!(f, "larger than {limit} bytes"),
            Self::TooDeep => write!(f, "nested more deeply than {DEPTH_LIMIT} levels"),
            Self::Truncated => f.write_str("cut short"),
        }
    }
}

impl std::error::Error for Error {}
