//! Watch streams in JSON: one event an object `{"type":T,"object":O}`, a newline behind each.
//!
//! Go's decoder takes any run of JSON values, so ours does; kube-rs splits at newlines, so ours writes one behind each event
//! and none inside (kubernetes-wire 2.2).

use crate::k8s::object::ResourceVersion;
use crate::wire::buffer::drop_front;
use crate::wire::error::Error;
use crate::wire::json;
use crate::wire::json::Mark;
use crate::wire::json::Scanner;
use crate::wire::watch::Event;
use crate::wire::watch::EventType;

/// Takes a stream apart; keeps one event at the most.
pub struct WatchDecoder {
    scanner: Scanner,
    buffer: Vec<u8>,
    at: usize,
    done: usize,
    limit: usize,
}

impl WatchDecoder {
    /// A decoder that takes events of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            scanner: Scanner::new(0),
            buffer: Vec::new(),
            at: 0,
            done: 0,
            limit,
        }
    }

    /// Takes the next bytes. What they make is then told by [`event`](Self::event).
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), Error> {
        drop_front(&mut self.buffer, self.done);
        self.at -= self.done;
        self.done = 0;
        if self.buffer.len() > self.limit {
            return Err(Error::TooLarge { limit: self.limit });
        }
        self.buffer.extend_from_slice(chunk);
        Ok(())
    }

    /// The next event, `None` when more bytes are needed.
    pub fn event(&mut self) -> Result<Option<Event<'_>>, Error> {
        loop {
            match self.scanner.next(&self.buffer, &mut self.at)? {
                None => {
                    // Blanks between two events are nobody's.
                    if self.scanner.is_outside() {
                        self.done = self.at;
                    }
                    return Ok(None);
                }
                Some(Mark::Ends(after, _)) => {
                    let start = std::mem::replace(&mut self.done, after);
                    self.scanner.again();
                    if after - start > self.limit {
                        return Err(Error::TooLarge { limit: self.limit });
                    }
                    return read(&self.buffer[start..after]).map(Some);
                }
                Some(Mark::Begins(here, _)) => self.done = here,
                Some(_) => {}
            }
        }
    }

    /// An error if the stream has ended inside an event.
    pub fn finish(&self) -> Result<(), Error> {
        if self.scanner.is_outside() {
            Ok(())
        } else {
            Err(Error::Truncated)
        }
    }
}

fn read(bytes: &[u8]) -> Result<Event<'_>, Error> {
    let (mut kind, mut object) = (None, None);
    for pair in json::members(bytes) {
        match pair? {
            (b"type", value) => {
                let text = value
                    .strip_prefix(b"\"")
                    .and_then(|text| text.strip_suffix(b"\""));
                kind = Some(
                    text.and_then(EventType::parse)
                        .ok_or(Error::malformed("a watch event of an unknown type"))?,
                );
            }
            (b"object", value) => object = Some(value),
            _ => {}
        }
    }
    match (kind, object) {
        (Some(kind), Some(object)) => Ok(Event { kind, object }),
        _ => Err(Error::malformed("a watch event without type or object")),
    }
}

/// Appends an event. Newlines inside the object (it was sent indented) are left out: JSON has none inside strings.
pub fn encode(kind: EventType, object: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_str().as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    if object.contains(&b'\n') {
        out.extend(object.iter().filter(|byte| !matches!(byte, b'\n' | b'\r')));
    } else {
        out.extend_from_slice(object);
    }
    out.extend_from_slice(b"}\n");
}

/// The object of a bookmark: nothing but its version, and the annotation when all that was there has been sent.
pub(crate) fn bookmark(
    api_version: &str,
    kind: &str,
    version: ResourceVersion,
    initial_events_end: bool,
) -> Vec<u8> {
    let annotations = if initial_events_end {
        r#","annotations":{"k8s.io/initial-events-end":"true"}"#
    } else {
        ""
    };
    format!(
        r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{{"resourceVersion":"{version}"{annotations}}}}}"#
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::encoding::Encoding;
    use crate::k8s::status::Status;
    use crate::wire::watch::testing;

    macro_rules! golden {
        ($($name:literal),*) => {
            [$(($name, include_bytes!(concat!("../../../tests/golden/", $name, ".body")) as &[u8])),*]
        };
    }

    const STREAMS: [(&str, &[u8]); 6] = golden!(
        "watch_configmaps_json",
        "watch_cameras_json",
        "watchlist_services_json",
        "watch_expired_json",
        "watch_from_zero_endpointslices_json",
        "watch_configmaps_half_json"
    );

    fn decode(pieces: &[&[u8]], limit: usize) -> Result<testing::Events, Error> {
        testing::decode(Encoding::Json, pieces, limit)
    }

    #[test]
    fn golden_streams_split_anywhere_are_the_same_events_and_encode_to_themselves() {
        testing::same_wherever_split(Encoding::Json, &STREAMS);
    }

    #[test]
    fn a_stream_may_end_between_events_only() {
        let stream = STREAMS[0].1;
        let ends: Vec<usize> = stream
            .iter()
            .enumerate()
            .filter(|(_, b)| **b == b'\n')
            .map(|(at, _)| at)
            .collect();
        for at in 0..stream.len() {
            let between = at == 0 || ends.contains(&at) || ends.contains(&(at - 1));
            assert_eq!(
                decode(&[&stream[..at]], 1 << 20).is_ok(),
                between,
                "at {at}"
            );
        }
    }

    #[test]
    fn bookmarks_and_errors_are_the_servers() {
        // The server writes a built-in kind's empty fields too; clients read the metadata only.
        let events = decode(&[STREAMS[2].1], 1 << 20).expect("whole");
        let (_, theirs) = events
            .iter()
            .find(|(kind, _)| *kind == EventType::Bookmark)
            .expect("a bookmark");
        let theirs: serde_json::Value = serde_json::from_slice(theirs).expect("JSON");
        let version = theirs["metadata"]["resourceVersion"]
            .as_str()
            .and_then(ResourceVersion::parse)
            .expect("a version");
        let ours = bookmark("v1", "Service", version, true);
        let ours: serde_json::Value = serde_json::from_slice(&ours).expect("JSON");
        for member in ["kind", "apiVersion"] {
            assert_eq!(ours[member], theirs[member]);
        }
        assert_eq!(
            ours["metadata"]["annotations"],
            theirs["metadata"]["annotations"]
        );
        assert_eq!(
            ours["metadata"]["resourceVersion"],
            theirs["metadata"]["resourceVersion"]
        );
        let expired = Status::expired("too old resource version: 1 (734)");
        let mut out = Vec::new();
        encode(
            EventType::Error,
            expired.to_json().trim_ascii_end(),
            &mut out,
        );
        assert_eq!(out, STREAMS[3].1);
    }

    #[test]
    fn indented_objects_go_out_on_one_line() {
        let mut out = Vec::new();
        encode(EventType::Added, b"{\n  \"a\": \"x y\"\n}", &mut out);
        assert_eq!(out, b"{\"type\":\"ADDED\",\"object\":{  \"a\": \"x y\"}}\n");
    }

    #[test]
    fn what_is_no_event_or_too_large_is_refused() {
        for text in [
            "{\"type\":\"ADDED\"}",
            "{\"object\":{}}",
            "{\"type\":\"X\",\"object\":{}}",
            "[]",
            "1 ",
            "{\"type\":1,\"object\":{}}",
        ] {
            assert!(decode(&[text.as_bytes()], 100).is_err(), "{text}");
        }
        let large = format!(
            "{{\"type\":\"ADDED\",\"object\":{{\"a\":\"{}\"}}}}",
            "x".repeat(300)
        );
        for size in [1, 50, 1000] {
            let pieces: Vec<&[u8]> = large.as_bytes().chunks(size).collect();
            assert_eq!(
                decode(&pieces, 200),
                Err(Error::TooLarge { limit: 200 }),
                "in pieces of {size}"
            );
        }
    }

    #[test]
    fn blanks_between_events_are_not_kept() {
        let (event, blank) = ("{\"type\":\"ADDED\",\"object\":1}", "\n".repeat(1000));
        let stream = format!("{blank}{event}{blank}{event}{blank}");
        for size in [1, 150, stream.len()] {
            let pieces: Vec<&[u8]> = stream.as_bytes().chunks(size).collect();
            let events = decode(&pieces, 100).map(|events| events.len());
            assert_eq!(events, Ok(2), "in pieces of {size}");
        }
    }
}
