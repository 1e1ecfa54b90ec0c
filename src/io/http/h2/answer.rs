//! An answer's body, and how much of it the server may send before it is read.
//!
//! The streams of a connection have one window, which follows the line's speed ([`Pace`]): it is told the server as
//! SETTINGS, which changes the windows of the streams that run too.

use std::cell::Cell;
use std::cell::RefCell;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;
use std::time::Instant;

use h2::FlowControl;
use h2::RecvStream;

use crate::io::http::Bytes;
use crate::io::http::Error;
use crate::io::http::HeaderMap;
use crate::io::http::body::Stream;
use crate::io::http::h2::Active;
use crate::rule::window;
use crate::rule::window::Pace;

/// The window that the streams of a connection have.
pub(super) struct Windows {
    /// What it should be.
    wanted: Cell<u32>,
    /// What the server was told.
    told: Cell<u32>,
    /// The server may not have taken it up yet.
    settling: Cell<bool>,
    /// The shortest time that an answer took to begin.
    round: Cell<Duration>,
    /// The streams that run, and their numbers; a server allows a few hundred.
    flows: RefCell<Vec<(u32, FlowControl)>>,
}

impl Default for Windows {
    fn default() -> Self {
        Self {
            wanted: Cell::new(window::START),
            told: Cell::new(window::START),
            settling: Cell::new(false),
            round: Cell::new(Duration::MAX),
            flows: RefCell::default(),
        }
    }
}

impl Windows {
    /// An answer has begun, so long after it was asked for.
    pub(super) fn answered(&self, after: Duration) {
        self.round.set(self.round.get().min(after));
    }

    /// Tells the server of another window by `set`, which says whether it could; whether there is something to be sent.
    /// To be called after each turn of the connection.
    pub(super) fn tell(&self, set: impl FnOnce(u32) -> bool) -> bool {
        let told = self.told.get();
        if self.settling.get() {
            let mut flows = self.flows.borrow_mut();
            // What a stream may still take and what it has taken make its window. `h2` changes that of all streams when
            // the server acknowledges.
            let taken_up = |flow: &FlowControl| {
                let taken = isize::try_from(flow.used_capacity()).unwrap_or(isize::MAX);
                let whole = flow.available_capacity().saturating_add(taken);
                u32::try_from(whole) == Ok(told)
            };
            if flows.iter().any(|(_, flow)| taken_up(flow)) {
                self.settling.set(false);
                // `h2` gives back room when half of a window has been read. Of a smaller window that may be all: the server
                // would wait for room and we for bytes, for ever. Giving back nothing makes it look again.
                for (_, flow) in flows.iter_mut() {
                    // Fails only on more than was received.
                    let _ = flow.release_capacity(0);
                }
            }
            return false;
        }
        let wanted = self.wanted.get();
        if wanted == told || !set(wanted) {
            return false;
        }
        self.told.set(wanted);
        self.settling.set(true);
        true
    }
}

/// An answer's body.
pub(super) struct Answer {
    stream: RecvStream,
    /// Bytes handed out and not yet given back to the server's window: the reader has them, but may not be done.
    unreleased: usize,
    /// Since when the reader waits.
    waiting: Option<Instant>,
    /// How fast it comes; `None` of what is not made ahead (a watch, a log): its pauses say nothing of the line.
    pace: Option<Pace>,
    active: Active,
}

impl Answer {
    /// The body of the answer with these header fields.
    pub(super) fn new(mut stream: RecvStream, headers: &HeaderMap, active: Active) -> Self {
        let flow = stream.flow_control().clone();
        let mut flows = active.state.windows.flows.borrow_mut();
        flows.push((stream.stream_id().as_u32(), flow));
        drop(flows);
        // What is compressed, or has a length, was made before it was sent.
        let whole =
            headers.contains_key("content-encoding") || headers.contains_key("content-length");
        Self {
            stream,
            unreleased: 0,
            waiting: None,
            pace: whole.then(Pace::default),
            active,
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // The last handle of a stream ends it.
        let number = self.stream.stream_id().as_u32();
        let mut flows = self.active.state.windows.flows.borrow_mut();
        flows.retain(|(held, _)| *held != number);
    }
}

impl Stream for Answer {
    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Error>>> {
        let unreleased = std::mem::take(&mut self.unreleased);
        if unreleased > 0 {
            // Fails only on more than was received.
            let _ = self.stream.flow_control().release_capacity(unreleased);
        }
        let polled = self.stream.poll_data(cx);
        if polled.is_pending() && self.pace.is_some() && self.waiting.is_none() {
            self.waiting = Some(Instant::now());
        }
        Poll::Ready(match ready!(polled) {
            None => None,
            Some(Ok(bytes)) => {
                self.unreleased = bytes.len();
                self.came(bytes.len());
                Some(Ok(bytes))
            }
            Some(Err(error)) => Some(Err(Error::upstream("read the answer", &error))),
        })
    }
}

impl Answer {
    fn came(&mut self, bytes: usize) {
        let waited = self.waiting.take().map(|since| since.elapsed());
        let windows = &self.active.state.windows;
        if let Some(pace) = &mut self.pace
            && let Some(window) = pace.step(
                bytes,
                waited.unwrap_or_default(),
                windows.wanted.get(),
                windows.round.get(),
            )
        {
            windows.wanted.set(window);
        }
    }
}
