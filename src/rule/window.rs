//! How much a server may send ahead on one stream, told from how fast a line carries.
//!
//! What a server has sent ahead stands in a queue on the line, and all that is behind it waits: on a line of 64 kbit/s each
//! 8 KB are a second. Too little ahead, and the line idles for a round trip between two pieces. So a window is what comes
//! in a round trip and a good second: what is on its way, and what may wait.

use std::time::Duration;

/// The window of a stream on a line of which nothing is known.
pub const START: u32 = 16 << 10;
/// The smallest: less costs a slow line more in frames and idle time than it saves others in waiting.
const LEAST: u32 = 8 << 10;
/// The largest: what one reader that stalls may hold.
pub const MOST: u32 = 64 << 10;
/// How long what was sent ahead may make others wait.
const AHEAD: Duration = Duration::from_millis(1250);
/// The longest round trip that is believed: a slow server's first answer is none.
const ROUND: Duration = Duration::from_secs(2);

/// The pace of one answer that was whole before it was sent: whatever it waits for, it waits for the line.
#[derive(Debug, Default)]
pub struct Pace {
    /// It has begun: what came before that was asked for tells nothing.
    begun: bool,
    bytes: u64,
    waited: Duration,
}

impl Pace {
    /// The window that streams should have from now on, if another one than `window`, after `bytes` more have come, for
    /// which the reader has waited for `waited`: nothing if they were there already. `round` is the shortest round trip
    /// that was seen.
    ///
    /// A reader that is slower than the line does not wait, and changes nothing.
    pub fn step(
        &mut self,
        bytes: usize,
        waited: Duration,
        window: u32,
        round: Duration,
    ) -> Option<u32> {
        if waited.is_zero() || !self.begun {
            // What comes without waiting belongs to the wait before: a record of TLS brings several pieces at once.
            let bytes = if self.begun { bytes } else { 0 };
            self.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
            self.begun = true;
            return None;
        }
        let measured =
            (self.bytes >= u64::from(window)).then(|| target(self.bytes, self.waited, round));
        if measured.is_some() {
            (self.bytes, self.waited) = (0, Duration::ZERO);
        }
        self.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
        self.waited += waited;
        // Doubled at the most: one measure may be of bytes that had gathered. And not changed for a trifle, which for less
        // is more than for more: what is too small stays so.
        let next = measured?.min(window.saturating_mul(2).min(MOST));
        (next >= window + window / 8 || next < window - window / 4).then_some(next)
    }
}

/// The window for a line on which `bytes` took `waited`; whole kilobytes.
fn target(bytes: u64, waited: Duration, round: Duration) -> u32 {
    let ahead = (AHEAD + round.min(ROUND)).as_micros();
    let carried = u128::from(bytes) * ahead / waited.as_micros().max(1);
    let carried = u32::try_from(carried).unwrap_or(MOST);
    carried.clamp(LEAST, MOST) & !1023
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(600);

    /// The window after `pieces` pieces of `size` bytes on a line of so many bytes a second.
    fn after(start: u32, rate: u64, size: usize, pieces: usize, round: Duration) -> u32 {
        let wait = Duration::from_micros(size as u64 * 1_000_000 / rate);
        let mut pace = Pace::default();
        (0..pieces).fold(start, |window, _| {
            pace.step(size, wait, window, round).unwrap_or(window)
        })
    }

    #[test]
    fn a_window_is_what_the_line_carries_in_a_round_trip_and_a_good_second() {
        let short = Duration::from_millis(20);
        assert_eq!(after(START, 8_000, 1400, 200, short), 9 << 10);
        assert_eq!(after(START, 2_000, 1400, 200, short), LEAST);
        assert_eq!(after(START, 40_000, 1400, 200, short), 49 << 10);
        assert_eq!(after(START, 50_000_000, 16_000, 20, short), MOST);
        assert_eq!(after(LEAST, 8_000, 1400, 200, ROUND_TRIP), 14 << 10);
    }

    #[test]
    fn a_line_that_idles_for_its_long_round_trip_gets_more_until_it_does_not() {
        // The server sends a window in one piece and then waits for its acknowledgement.
        let round = Duration::from_millis(1800);
        let rate = 20_000_u64;
        let (mut pace, mut window) = (Pace::default(), LEAST);
        for _ in 0..50 {
            let wait = round + Duration::from_micros(u64::from(window) * 1_000_000 / rate);
            let size = usize::try_from(window).expect("small");
            window = pace.step(size, wait, window, round).unwrap_or(window);
        }
        assert!((16 << 10..=26 << 10).contains(&window), "{window}");
    }

    #[test]
    fn a_line_that_becomes_slow_or_fast_is_followed() {
        assert_eq!(after(MOST, 8_000, 1400, 200, ROUND_TRIP), 14 << 10);
        assert_eq!(after(LEAST, 1_000_000, 1400, 200, ROUND_TRIP), MOST);
    }

    #[test]
    fn growth_is_doubling_and_a_trifle_changes_nothing() {
        let mut pace = Pace::default();
        let mut step =
            |bytes, millis| pace.step(bytes, Duration::from_millis(millis), START, ROUND_TRIP);
        assert_eq!(step(16_384, 5000), None, "what was asked for with the head");
        assert_eq!(step(16_384, 1), None);
        assert_eq!(step(1400, 1), Some(2 * START));
        let steady = after(START, 9_500, 1400, 1000, ROUND_TRIP);
        assert_eq!(steady, START, "17 KB are 16 KB, near enough");
    }

    #[test]
    fn pieces_of_one_record_are_one_and_a_slow_reader_tells_nothing() {
        let mut pace = Pace::default();
        let (second, none) = (Duration::from_millis(1000), Duration::ZERO);
        pace.step(1, second, LEAST, none);
        // Four pieces of 4 KB each two seconds and a half: a window, however they fall.
        for _ in 0..10 {
            assert_eq!(pace.step(4096, 5 * second / 2, LEAST, none), None);
            for _ in 0..3 {
                assert_eq!(pace.step(4096, none, LEAST, none), None);
            }
        }
        let mut pace = Pace::default();
        for _ in 0..100 {
            assert_eq!(pace.step(16_384, none, START, none), None);
        }
    }
}
