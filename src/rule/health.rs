//! Whether the line to a server lives, told from what crosses it.
//!
//! Any byte that comes is a sign of life. A PING is sent only after silence: soon when a request waits for its answer, now
//! and then when none does. Silence that goes on past that is a cut line. A slow line that works is never silent for long:
//! while a list runs on it its bytes come, and a PING's answer is one round trip away.
//!
//! How often clients ask tells nothing: a kubelet that says nothing is not a cut line.

use std::time::Duration;
use std::time::Instant;

/// What is known of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Nothing yet: the first connection is being made.
    #[default]
    Starting,
    /// It answers, or did a moment ago and a new connection is being made.
    Healthy,
    /// It can't be reached.
    Unhealthy,
}

/// What happened to the way to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// A connection stands.
    Connected,
    /// A connection could not be made: refused, or the handshake failed.
    Refused,
    /// No connection has come about in [`Thresholds::give_up`].
    Late,
    /// A connection that stood was reset, or ended.
    Lost,
    /// A connection was silent for too long.
    Silent,
}

impl Health {
    /// What is known after `input`. A connection that was lost may be back at once; only a refusal, a silence or a late
    /// answer says that the server can't be reached.
    pub fn step(self, input: Input) -> Self {
        match (self, input) {
            (_, Input::Connected) => Self::Healthy,
            (_, Input::Refused | Input::Late | Input::Silent) => Self::Unhealthy,
            (health, Input::Lost) => health,
        }
    }
}

/// How much silence means what.
#[derive(Clone, Copy, Debug)]
pub struct Thresholds {
    /// Silence before a PING while a request waits.
    pub ask: Duration,
    /// Silence before a PING while none does.
    pub idle: Duration,
    /// How long the first connection may take before the node is served from its mirror: it may have booted without a line.
    pub start: Duration,
    /// Silence that means a cut: so that a first request after a cut without a word is answered within 5 s, and a line of
    /// 3 s a round trip lives.
    pub give_up: Duration,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            ask: Duration::from_secs(1),
            idle: Duration::from_secs(20),
            start: Duration::from_secs(2),
            give_up: Duration::from_millis(4500),
        }
    }
}

impl Thresholds {
    /// How much silence a client bears that waits `timeout` for its whole answer; `None` if the line is given up before
    /// that. A kubelet gives its lease 4 s where it is renewed that often: who is answered half a second before gets what
    /// is known instead of nothing.
    pub fn patience(&self, timeout: Duration) -> Option<Duration> {
        let patience = timeout - timeout / 8;
        (patience < self.give_up).then_some(patience)
    }
}

/// One connection's pulse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulse {
    /// Nothing is asked of it but what clients ask.
    Resting,
    /// A PING went out then, and nothing has come since.
    Pinged(Instant),
}

/// What to do for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing before this time.
    Rest(Instant),
    /// Send a PING; look again at this time.
    Ping(Instant),
    /// The line is cut: close the connection.
    GiveUp,
}

impl Pulse {
    /// What to do at `now` on a connection that was last heard at `heard` and on which the longest waiting request has
    /// waited since `waiting`.
    pub fn step(
        &mut self,
        heard: Instant,
        waiting: Option<Instant>,
        now: Instant,
        thresholds: Thresholds,
    ) -> Action {
        if let Self::Pinged(at) = *self
            && heard > at
        {
            *self = Self::Resting;
        }
        // Silence is counted from the moment that something was due.
        let (since, ping) = match (waiting, *self) {
            (Some(waiting), _) => (heard.max(waiting), thresholds.ask),
            (None, Self::Pinged(at)) => (at, Duration::ZERO),
            (None, Self::Resting) => (heard, thresholds.idle),
        };
        let due = match (waiting, *self) {
            // Without a request and without a PING nothing is due, however long nothing comes.
            (None, Self::Resting) => None,
            _ => Some(since + thresholds.give_up),
        };
        if due.is_some_and(|due| now >= due) {
            return Action::GiveUp;
        }
        if *self == Self::Resting {
            if now < since + ping {
                return Action::Rest(due.map_or(since + ping, |due| due.min(since + ping)));
            }
            *self = Self::Pinged(now);
            let due = if waiting.is_some() {
                since + thresholds.give_up
            } else {
                now + thresholds.give_up
            };
            return Action::Ping(due);
        }
        Action::Rest(due.unwrap_or(now + thresholds.idle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Thresholds = Thresholds {
        ask: Duration::from_secs(1),
        idle: Duration::from_secs(20),
        start: Duration::from_secs(2),
        give_up: Duration::from_millis(4500),
    };

    /// Seconds after a common start.
    fn at(start: Instant, seconds: f64) -> Instant {
        start + Duration::from_secs_f64(seconds)
    }

    #[test]
    fn health_follows_what_happens_to_connections() {
        use Health::{Healthy, Starting, Unhealthy};
        for (health, input, then) in [
            (Starting, Input::Connected, Healthy),
            (Starting, Input::Refused, Unhealthy),
            (Starting, Input::Late, Unhealthy),
            (Healthy, Input::Lost, Healthy),
            (Healthy, Input::Refused, Unhealthy),
            (Healthy, Input::Silent, Unhealthy),
            (Unhealthy, Input::Lost, Unhealthy),
            (Unhealthy, Input::Connected, Healthy),
        ] {
            assert_eq!(health.step(input), then, "{health:?} {input:?}");
        }
    }

    #[test]
    fn a_request_on_a_cut_line_is_given_up_within_the_bound() {
        let start = Instant::now();
        let mut pulse = Pulse::Resting;
        // Heard at 0, asked at 10.
        let waiting = Some(at(start, 10.0));
        assert_eq!(
            pulse.step(start, waiting, at(start, 10.0), T),
            Action::Rest(at(start, 11.0))
        );
        assert_eq!(
            pulse.step(start, waiting, at(start, 11.0), T),
            Action::Ping(at(start, 14.5))
        );
        assert_eq!(
            pulse.step(start, waiting, at(start, 12.0), T),
            Action::Rest(at(start, 14.5))
        );
        assert_eq!(
            pulse.step(start, waiting, at(start, 14.5), T),
            Action::GiveUp
        );
    }

    #[test]
    fn who_waits_less_than_the_line_is_given_is_answered_before_it_goes() {
        let patience = |millis| T.patience(Duration::from_millis(millis));
        assert_eq!(patience(4000), Some(Duration::from_millis(3500)));
        assert_eq!(patience(1000), Some(Duration::from_millis(875)));
        assert_eq!(patience(10_000), None);
    }

    #[test]
    fn an_idle_line_is_asked_now_and_then_and_given_up_when_it_does_not_answer() {
        let start = Instant::now();
        let mut pulse = Pulse::Resting;
        assert_eq!(
            pulse.step(start, None, at(start, 1.0), T),
            Action::Rest(at(start, 20.0))
        );
        assert_eq!(
            pulse.step(start, None, at(start, 20.0), T),
            Action::Ping(at(start, 24.5))
        );
        assert_eq!(
            pulse.step(start, None, at(start, 24.0), T),
            Action::Rest(at(start, 24.5))
        );
        assert_eq!(pulse.step(start, None, at(start, 24.5), T), Action::GiveUp);
        // Had it answered at 21, it would have rested.
        let mut pulse = Pulse::Pinged(at(start, 20.0));
        let heard = at(start, 21.0);
        assert_eq!(
            pulse.step(heard, None, at(start, 24.5), T),
            Action::Rest(at(start, 41.0))
        );
    }

    #[test]
    fn three_seconds_a_round_trip_is_slow_and_alive() {
        let start = Instant::now();
        let mut pulse = Pulse::Resting;
        let waiting = Some(start);
        assert_eq!(
            pulse.step(start, waiting, at(start, 1.0), T),
            Action::Ping(at(start, 4.5))
        );
        // The answer to the PING comes at 4, the request's is long in coming: a big list behind a queue.
        let mut heard = at(start, 4.0);
        for _ in 0..20 {
            let asked = pulse.step(heard, waiting, heard + Duration::from_secs(1), T);
            assert_eq!(asked, Action::Ping(heard + T.give_up));
            let answered = heard + Duration::from_secs(4);
            assert_eq!(
                pulse.step(heard, waiting, answered, T),
                Action::Rest(heard + T.give_up)
            );
            heard = answered;
        }
    }

    #[test]
    fn a_list_that_runs_is_life_enough() {
        let start = Instant::now();
        let mut pulse = Pulse::Resting;
        for n in 0..100 {
            let now = at(start, f64::from(n) * 0.9);
            assert!(
                matches!(pulse.step(now, Some(start), now, T), Action::Rest(_)),
                "no PING is needed"
            );
        }
    }
}
