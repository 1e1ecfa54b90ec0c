//! Label and field selectors.

use std::fmt;

/// A label selector; the canonical text names a collection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LabelSelector {}

/// A field selector; the canonical text names a collection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldSelector {}

impl LabelSelector {
    /// Parses.
    pub fn parse(_text: &str) -> Result<Self, String> {
        Ok(Self {})
    }
    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        true
    }
}

impl FieldSelector {
    /// Parses.
    pub fn parse(_text: &str) -> Result<Self, String> {
        Ok(Self {})
    }
    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        true
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}
