//! When a supervised process is started again, and when its supervisor ends.
//!
//! For ever: a device that gives up after some attempts is a device that somebody has to drive to. Only a process that says
//! that it can't run as it was told (exit 64, 78) is not started again.

use std::time::Duration;
use std::time::Instant;

/// The pause before the next start, and what it grows to when the process keeps dying young.
const PAUSE: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(60);
/// A life shorter than this is a young death.
const YOUNG: Duration = Duration::from_secs(10);
/// A life as long as this ends the count of young deaths.
const OLD: Duration = Duration::from_secs(60);
/// How long the process has to end after it was told to.
const LEAVE: Duration = Duration::from_secs(20);

/// Exit codes behind which no other start makes sense: `EX_USAGE` and `EX_CONFIG` of sysexits.h.
const FINAL: [u8; 2] = [64, 78];
/// The supervisor's own code for a process that was killed when it had to end.
const KILLED: u8 = 1;

/// What a supervised process is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Respawn {
    /// It was started then; so many young deaths came before.
    Running(Instant, u32),
    /// It is started again then.
    Resting(Instant, u32),
    /// It was told to end, and is killed then.
    Leaving(Instant),
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The process has ended by itself, with this code; none if a signal ended it or it could not be started.
    Exited(Option<u8>),
    /// The supervisor was told to end.
    Stop,
    /// Time has passed.
    Time,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start the process.
    Start,
    /// Tell the process to end; look again at this time.
    Stop(Instant),
    /// Kill the process, and wait for its end.
    Kill,
    /// Nothing before something happens, or before this time.
    Wait(Option<Instant>),
    /// End with this code.
    End(u8),
}

impl Respawn {
    /// What to do after `input` at `now`.
    pub fn step(&mut self, input: Input, now: Instant) -> Action {
        match (*self, input) {
            (Self::Running(..), Input::Exited(Some(code))) if FINAL.contains(&code) => {
                Action::End(code)
            }
            (Self::Running(since, young), Input::Exited(_)) => {
                let life = now.saturating_duration_since(since);
                let before = if life >= OLD { 0 } else { young };
                let pause = PAUSE.saturating_mul(1 << before.min(8)).min(LONGEST);
                let young = before.saturating_add(u32::from(life < YOUNG));
                *self = Self::Resting(now + pause, young);
                Action::Wait(Some(now + pause))
            }
            (Self::Running(..), Input::Stop) => {
                *self = Self::Leaving(now + LEAVE);
                Action::Stop(now + LEAVE)
            }
            (Self::Running(..), Input::Time) => Action::Wait(None),
            (Self::Resting(until, young), _) if input != Input::Stop => {
                if now < until {
                    return Action::Wait(Some(until));
                }
                *self = Self::Running(now, young);
                Action::Start
            }
            (Self::Resting(..), _) => Action::End(0),
            // Told before it could listen, it has ended by the signal itself.
            (Self::Leaving(kill), Input::Exited(None)) if now < kill => Action::End(0),
            (Self::Leaving(_), Input::Exited(code)) => Action::End(code.unwrap_or(KILLED)),
            // Told twice, the process is too: it knows to hurry then.
            (Self::Leaving(kill), Input::Stop) => Action::Stop(kill),
            (Self::Leaving(kill), Input::Time) if now < kill => Action::Wait(Some(kill)),
            (Self::Leaving(_), Input::Time) => Action::Kill,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pauses in seconds behind lives of these lengths in seconds, the last one's count of young deaths in.
    fn pauses(lives: &[u64]) -> Vec<u64> {
        let mut now = Instant::now();
        let mut state = Respawn::Running(now, 0);
        lives
            .iter()
            .map(|life| {
                now += Duration::from_secs(*life);
                let Action::Wait(Some(until)) = state.step(Input::Exited(Some(1)), now) else {
                    panic!("it is started again: {state:?}");
                };
                let early = until - Duration::from_millis(1);
                assert_eq!(state.step(Input::Time, early), Action::Wait(Some(until)));
                assert_eq!(state.step(Input::Time, until), Action::Start);
                assert_eq!(state.step(Input::Time, until), Action::Wait(None));
                let pause = until - now;
                now = until;
                pause.as_secs()
            })
            .collect()
    }

    #[test]
    fn pauses_grow_with_young_deaths_and_shrink_after_a_minute_of_life() {
        assert_eq!(pauses(&[0, 0, 0, 0, 0, 0]), [5, 10, 20, 40, 60, 60]);
        assert_eq!(pauses(&[3600, 3600, 3600]), [5, 5, 5]);
        assert_eq!(pauses(&[9, 9, 30, 30, 9, 9]), [5, 10, 20, 20, 20, 40]);
        assert_eq!(pauses(&[1, 1, 1, 60, 1, 1]), [5, 10, 20, 5, 5, 10]);
        assert_eq!(pauses(&[0; 100]).last(), Some(&60));
    }

    #[test]
    fn what_can_not_run_as_it_was_told_ends_the_supervisor_and_nothing_else_does() {
        let now = Instant::now();
        for code in 0..=255 {
            let action = Respawn::Running(now, 0).step(Input::Exited(Some(code)), now);
            let ends = matches!(code, 64 | 78);
            assert_eq!(action == Action::End(code), ends, "{code}");
        }
        let killed = Respawn::Running(now, 0).step(Input::Exited(None), now);
        assert!(matches!(killed, Action::Wait(Some(_))));
    }

    #[test]
    fn a_stop_is_passed_on_waited_for_and_enforced() {
        let now = Instant::now();
        let kill = now + LEAVE;
        let mut state = Respawn::Running(now, 3);
        assert_eq!(state.step(Input::Stop, now), Action::Stop(kill));
        assert_eq!(state.step(Input::Time, now), Action::Wait(Some(kill)));
        assert_eq!(state.step(Input::Stop, now), Action::Stop(kill));
        let mut well = state;
        assert_eq!(well.step(Input::Exited(Some(0)), now), Action::End(0));
        let mut early = state;
        assert_eq!(early.step(Input::Exited(None), now), Action::End(0));
        let mut wrong = state;
        assert_eq!(wrong.step(Input::Exited(Some(78)), now), Action::End(78));
        assert_eq!(state.step(Input::Time, kill), Action::Kill);
        assert_eq!(state.step(Input::Exited(None), kill), Action::End(1));
        let mut resting = Respawn::Resting(kill, 0);
        assert_eq!(resting.step(Input::Stop, now), Action::End(0));
    }
}
