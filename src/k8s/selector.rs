//! Label and field selectors: parsed as the API server parses them, in one canonical form, and matched.
//!
//! The grammar and the messages are those of `k8s.io/apimachinery` (`pkg/labels`, `pkg/fields`). The canonical text of a
//! selector is part of a collection's name, so that `a=1,b` and `b, a == 1` are one collection.

pub mod field;
pub mod label;

use std::fmt;

pub use crate::k8s::selector::field::FieldSelector;
pub use crate::k8s::selector::label::LabelSelector;

/// A selector that can't be parsed; the message is the API server's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectorError {
    /// What is wrong, and where.
    pub message: String,
}

impl fmt::Display for SelectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SelectorError {}
