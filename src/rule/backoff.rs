//! How long to wait before the next attempt.

use std::time::Duration;

/// An exponential pace with jitter.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// The first pause.
    pub base: Duration,
    /// The longest pause.
    pub cap: Duration,
}

impl Backoff {
    /// The pause before attempt `attempt` (0 is the first retry): doubled each time, capped, and shortened by up to a half
    /// by the random word, so that a thousand nodes that lost one server do not come back together.
    pub fn delay(&self, attempt: u32, random: u32) -> Duration {
        let full = self.base.saturating_mul(1 << attempt.min(16)).min(self.cap);
        full / 2 + (full / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap_and_are_spread() {
        let backoff = Backoff {
            base: Duration::from_millis(500),
            cap: Duration::from_secs(5),
        };
        let range = |attempt| {
            (
                backoff.delay(attempt, 0).as_millis(),
                backoff.delay(attempt, u32::MAX).as_millis(),
            )
        };
        assert_eq!(range(0), (250, 500));
        assert_eq!(range(1), (500, 1000));
        assert_eq!(range(3), (2000, 4000));
        for attempt in [4, 5, 31, u32::MAX] {
            assert_eq!(range(attempt), (2500, 5000));
        }
    }
}
