//! What the process knows of itself and of its machine: wall time, a little chance.

use std::cell::Cell;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::hash::Hasher;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

/// Wall time: seconds since 1970, 0 if the clock stands before that.
pub fn unix_time() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// A random word, for jitter only: a small generator (xorshift) seeded by the standard library's hash keys.
pub fn random() -> u32 {
    thread_local! {
        static STATE: Cell<u32> = const { Cell::new(0) };
    }
    STATE.with(|state| {
        let mut word = state.get();
        if word == 0 {
            // Zero is the one state that xorshift never leaves.
            word = (RandomState::new().build_hasher().finish() as u32) | 1;
        }
        word ^= word << 13;
        word ^= word >> 17;
        word ^= word << 5;
        state.set(word);
        word
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_does_not_repeat_itself() {
        let words: std::collections::HashSet<u32> = (0..1000).map(|_| random()).collect();
        assert!(words.len() > 990);
    }
}
