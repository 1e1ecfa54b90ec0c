//! Events that were written while the line was cut: held back in memory, and sent in their order when it is there again.
//!
//! Bounded, the oldest leaving first: what a node did last is what is asked for. They do not survive the process; events
//! tell people what happened, nothing depends on them.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Duration;

use smol::Timer;

use crate::io::http::Body;
use crate::io::http::Bytes;
use crate::io::http::Request;
use crate::io::http::StatusCode;
use crate::io::http::strip_connection_fields;
use crate::io::latest::Notify;
use crate::io::process;
use crate::role::agent::follow::BACKOFF;
use crate::rule::health::Health;
use crate::state::upstream::Upstream;

/// How much is held: bytes of bodies (an event has about 600), and events, each of which has headers too.
const BYTES: usize = 64 << 10;
const EVENTS: usize = 128;
/// How much of an answer is read that nobody wants, and how long.
const UNREAD: usize = 64 << 10;
const UNREAD_TIME: Duration = Duration::from_secs(2);

/// How often an event is tried that the server answers with an error of its own.
const TRIES: u32 = 5;

/// What is held back.
#[derive(Default)]
pub struct Held {
    waiting: RefCell<VecDeque<Event>>,
    dropped: Cell<u64>,
    changed: Notify,
}

struct Event {
    /// The request without its body.
    head: Request,
    body: Bytes,
    tries: u32,
}

impl Held {
    /// Holds a request, given without its body, and the body.
    pub fn hold(&self, head: Request, body: Bytes) {
        let mut waiting = self.waiting.borrow_mut();
        waiting.push_back(Event {
            head,
            body,
            tries: 0,
        });
        let mut bytes: usize = waiting.iter().map(|event| event.body.len()).sum();
        while bytes > BYTES || waiting.len() > EVENTS {
            let Some(event) = waiting.pop_front() else {
                break;
            };
            bytes -= event.body.len();
            self.dropped.set(self.dropped.get() + 1);
        }
        self.changed.notify();
    }

    /// How many are held, and how many had to leave since the start.
    pub fn count(&self) -> (usize, u64) {
        (self.waiting.borrow().len(), self.dropped.get())
    }

    /// Sends what is held whenever the line is there, until the future is dropped.
    pub async fn send(&self, upstream: &Upstream) {
        let mut attempt = 0;
        loop {
            let changed = self.changed.wait();
            if self.waiting.borrow().is_empty() {
                changed.await;
                continue;
            }
            let line = upstream.changed();
            if upstream.health() != Health::Healthy {
                line.await;
                continue;
            }
            let Some(mut event) = self.waiting.borrow_mut().pop_front() else {
                continue;
            };
            if sent(upstream, &mut event).await {
                attempt = 0;
                continue;
            }
            if event.tries < TRIES {
                self.waiting.borrow_mut().push_front(event);
            } else {
                self.dropped.set(self.dropped.get() + 1);
            }
            Timer::after(BACKOFF.delay(attempt, process::random())).await;
            attempt += 1;
        }
    }
}

/// Sends an event. It is done with when the server has said what it thinks of it; an error of its own is no opinion.
async fn sent(upstream: &Upstream, event: &mut Event) -> bool {
    // A request without a body can always be sent again.
    let Some(mut request) = event.head.again() else {
        return true;
    };
    request.body = Body::full(event.body.clone());
    strip_connection_fields(&mut request.headers);
    match upstream.send(request).await {
        Ok(mut response) => {
            response.body.discard(UNREAD, UNREAD_TIME).await;
            let later = response.status == StatusCode::TOO_MANY_REQUESTS
                || response.status.is_server_error();
            event.tries += u32::from(later);
            !later
        }
        Err(error) => !error.is_upstream(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::http::HeaderMap;
    use crate::io::http::Method;

    fn hold(held: &Held, body: Vec<u8>) {
        let target = "/api/v1/namespaces/a/events".to_owned();
        let head = Request::new(Method::POST, target, HeaderMap::new(), Body::empty());
        held.hold(head, body.into());
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_leaves() {
        let held = Held::default();
        for number in 0..EVENTS + 10 {
            hold(&held, number.to_string().into_bytes());
        }
        assert_eq!(held.count(), (EVENTS, 10));
        let first = held.waiting.borrow()[0].body.clone();
        assert_eq!(first, "10");
        hold(&held, vec![b'x'; BYTES]);
        assert_eq!(held.count().0, 1);
        hold(&held, vec![b'x'; BYTES + 1]);
        assert_eq!(held.count().0, 0, "larger than all that may be held");
    }
}
