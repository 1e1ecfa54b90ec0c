//! A seeded generator (SplitMix64): small, good enough to choose moments and operations, and the same everywhere.

use std::time::SystemTime;
use std::time::UNIX_EPOCH;

/// A generator of pseudo-random numbers. Its seed is printed, so a failure can be run again with `TOONO_SEED=…`.
pub struct Random {
    state: u64,
}

impl Random {
    /// A generator with the seed from the environment (`TOONO_SEED`) or the clock; prints which.
    #[allow(clippy::print_stderr)] // Shown by the test harness when the test fails.
    pub fn new(name: &str) -> Self {
        let seed = std::env::var("TOONO_SEED")
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(|| {
                SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .map_or(1, |age| age.as_micros() as u64)
            });
        eprintln!("{name}: TOONO_SEED={seed}");
        Self::seeded(seed)
    }

    /// A generator with this seed.
    pub fn seeded(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound` (not 0).
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn a_seed_gives_the_same_numbers_and_bounds_hold() {
        let mut one = Random::seeded(7);
        let mut two = Random::seeded(7);
        for _ in 0..100 {
            assert_eq!(one.next(), two.next());
            let drawn = one.below(10);
            assert!(drawn < 10 && drawn == two.below(10));
        }
    }
}
