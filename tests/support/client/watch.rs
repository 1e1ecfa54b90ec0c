//! The raw client's side of a watch: one event after the other, lines of JSON or frames of protobuf.

use std::io;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;

use super::Framing;
use super::Head;
use super::Wire;
use super::bad;
use super::characters;
use crate::support::protobuf;

/// An event of a watch.
#[derive(Clone, Debug)]
pub struct Event {
    /// `ADDED` and so on.
    pub event: String,
    /// The object.
    pub object: Value,
    /// The line as it came, without its end; of a frame of protobuf, a character a byte.
    pub line: String,
    /// When it was whole.
    pub at: Instant,
}

impl Event {
    /// The object's name.
    pub fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// The object's version.
    pub fn version(&self) -> u64 {
        let version = self.object["metadata"]["resourceVersion"].as_str();
        version
            .and_then(|text| text.parse().ok())
            .unwrap_or_default()
    }
}

/// What a watch did within a time.
#[derive(Debug)]
pub enum Next {
    /// It said something.
    Event(Box<Event>),
    /// It ended well: with the last chunk.
    Ended,
    /// It ended otherwise.
    Broken(io::Error),
    /// It said nothing.
    Silent,
}

/// An open watch.
pub struct Watch {
    /// The status code.
    pub status: u16,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// From the request to the head of the answer.
    pub first_byte: Duration,
    framing: Framing,
    wire: Wire,
    /// What has come of events that are not whole yet.
    rest: Vec<u8>,
    protobuf: bool,
    ended: bool,
    patience: Duration,
}

impl Watch {
    pub(super) fn new(
        head: Head,
        framing: Framing,
        first_byte: Duration,
        wire: Wire,
        patience: Duration,
    ) -> Self {
        let framed = |(name, value): &(String, String)| {
            name.eq_ignore_ascii_case("content-type") && value == protobuf::STREAM
        };
        Self {
            status: head.status,
            protobuf: head.headers.iter().any(framed),
            headers: head.headers,
            first_byte,
            framing,
            wire,
            rest: Vec::new(),
            ended: false,
            patience,
        }
    }

    /// Whether it is a stream of frames.
    pub fn is_protobuf(&self) -> bool {
        self.protobuf
    }

    /// Waits for the next event, `patience` at most.
    pub fn next(&mut self, patience: Duration) -> Next {
        self.wire.deadline = Instant::now() + patience;
        loop {
            match self.whole() {
                Ok(Some(event)) => return Next::Event(Box::new(event)),
                Ok(None) => {}
                Err(error) => return Next::Broken(bad(&error)),
            }
            if self.ended && self.rest.is_empty() {
                return Next::Ended;
            }
            if self.ended {
                return Next::Broken(bad("the stream ended inside an event"));
            }
            match self.framing.piece(&mut self.wire, &mut self.rest) {
                Ok(true) => {}
                Ok(false) => self.ended = true,
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Next::Silent,
                Err(error) => return Next::Broken(error),
            }
        }
    }

    /// The next event of those that have come.
    fn whole(&mut self) -> Result<Option<Event>, String> {
        let (event, object, length) = if self.protobuf {
            match protobuf::event(&self.rest)? {
                Some(event) => event,
                None => return Ok(None),
            }
        } else {
            let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') else {
                return Ok(None);
            };
            let text = String::from_utf8_lossy(&self.rest[..end]);
            let json: Value =
                serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
            let event = json["type"].as_str().ok_or("an event without a type")?;
            (event.to_owned(), json["object"].clone(), end + 1)
        };
        let bytes: Vec<u8> = self.rest.drain(..length).collect();
        let line = if self.protobuf {
            characters(&bytes)
        } else {
            String::from_utf8_lossy(&bytes[..length - 1]).into_owned()
        };
        Ok(Some(Event {
            event,
            object,
            line,
            at: Instant::now(),
        }))
    }

    /// The next event, bookmarks included; anything else fails the test.
    #[track_caller]
    pub fn event(&mut self) -> Event {
        match self.next(self.patience) {
            Next::Event(event) => *event,
            other => panic!("an event was due: {other:?}"),
        }
    }

    /// The next event that is not a bookmark.
    #[track_caller]
    pub fn change(&mut self) -> Event {
        loop {
            let event = self.event();
            if event.event != "BOOKMARK" {
                return event;
            }
        }
    }

    /// Every event of this time, and how the time ended (`Silent` if the watch is still open).
    pub fn collect(&mut self, time: Duration) -> (Vec<Event>, Next) {
        let deadline = Instant::now() + time;
        let mut events = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.next(left.max(Duration::from_millis(1))) {
                Next::Event(event) => events.push(*event),
                other => return (events, other),
            }
        }
    }
}
