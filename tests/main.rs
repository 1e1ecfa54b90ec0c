//! The one integration binary.
#![allow(missing_docs)] // Test names say what they are for.

mod support;
