//! The part of `tests/support` that the example uses.
#![allow(dead_code, unreachable_pub)] // The tests use all of it.

#[path = "../support/random.rs"]
pub(crate) mod random;
