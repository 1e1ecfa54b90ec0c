//! Watch streams, in the encoding that they come in: one event after the other.

use crate::k8s::encoding::Encoding;
use crate::k8s::object::ResourceVersion;
use crate::k8s::status::Status;
use crate::wire::error::Error;
use crate::wire::json::watch as json;
use crate::wire::protobuf::watch as protobuf;
use crate::wire::status;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    /// The object is new, or was there at the start.
    Added,
    /// It has changed.
    Modified,
    /// It is gone; the object is its last state, at the version of the deletion.
    Deleted,
    /// Nothing: the stream has come to the object's version.
    Bookmark,
    /// The object is a `Status`; the stream ends.
    Error,
}

impl EventType {
    const ALL: [Self; 5] = [
        Self::Added,
        Self::Modified,
        Self::Deleted,
        Self::Bookmark,
        Self::Error,
    ];

    /// As it stands in an event.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
            Self::Bookmark => "BOOKMARK",
            Self::Error => "ERROR",
        }
    }

    /// Reads it as it stands in an event.
    pub fn parse(text: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str().as_bytes() == text)
    }
}

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// What happened.
    pub kind: EventType,
    /// The object's bytes as they came, with its type; in protobuf with its envelope.
    pub object: &'a [u8],
}

/// Takes a stream apart; keeps one event at the most.
pub enum WatchDecoder {
    /// Of a stream in JSON.
    Json(json::WatchDecoder),
    /// Of a stream in protobuf.
    Protobuf(protobuf::WatchDecoder),
}

impl WatchDecoder {
    /// A decoder that takes events of at most `limit` bytes.
    pub fn new(encoding: Encoding, limit: usize) -> Self {
        match encoding {
            Encoding::Json => Self::Json(json::WatchDecoder::new(limit)),
            Encoding::Protobuf => Self::Protobuf(protobuf::WatchDecoder::new(limit)),
        }
    }

    /// Takes the next bytes. What they make is then told by [`event`](Self::event).
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), Error> {
        match self {
            Self::Json(decoder) => decoder.push(chunk),
            Self::Protobuf(decoder) => decoder.push(chunk),
        }
    }

    /// The next event, `None` when more bytes are needed.
    pub fn event(&mut self) -> Result<Option<Event<'_>>, Error> {
        match self {
            Self::Json(decoder) => decoder.event(),
            Self::Protobuf(decoder) => decoder.event(),
        }
    }

    /// An error if the stream has ended inside an event.
    pub fn finish(&self) -> Result<(), Error> {
        match self {
            Self::Json(decoder) => decoder.finish(),
            Self::Protobuf(decoder) => decoder.finish(),
        }
    }
}

/// Appends an event with an object as it stands alone.
pub fn encode(encoding: Encoding, kind: EventType, object: &[u8], out: &mut Vec<u8>) {
    match encoding {
        Encoding::Json => json::encode(kind, object, out),
        Encoding::Protobuf => protobuf::encode(kind.as_str(), object, out),
    }
}

/// A bookmark event: the stream has come to `version`. `initial_events_end`: all objects that were there have been sent.
pub fn bookmark(
    encoding: Encoding,
    api_version: &str,
    kind: &str,
    version: ResourceVersion,
    initial_events_end: bool,
) -> Vec<u8> {
    let object = match encoding {
        Encoding::Json => json::bookmark(api_version, kind, version, initial_events_end),
        Encoding::Protobuf => protobuf::bookmark(api_version, kind, version, initial_events_end),
    };
    let mut out = Vec::new();
    encode(encoding, EventType::Bookmark, &object, &mut out);
    out
}

/// An error event with a `Status`; the stream ends behind it.
pub fn error(encoding: Encoding, status: &Status) -> Vec<u8> {
    let mut out = Vec::new();
    let object = status::encode(encoding, status);
    encode(
        encoding,
        EventType::Error,
        object.trim_ascii_end(),
        &mut out,
    );
    out
}

/// What the decoders of both encodings are tested with.
#[cfg(test)]
pub(crate) mod testing {
    use crate::k8s::encoding::Encoding;
    use crate::wire::error::Error;
    use crate::wire::watch::EventType;
    use crate::wire::watch::WatchDecoder;
    use crate::wire::watch::encode;

    /// Types and objects of a stream's events.
    pub(crate) type Events = Vec<(EventType, Vec<u8>)>;

    /// Decodes a stream that comes in pieces.
    pub(crate) fn decode(
        encoding: Encoding,
        pieces: &[&[u8]],
        limit: usize,
    ) -> Result<Events, Error> {
        let mut decoder = WatchDecoder::new(encoding, limit);
        let mut events = Vec::new();
        for piece in pieces {
            decoder.push(piece)?;
            while let Some(event) = decoder.event()? {
                events.push((event.kind, event.object.to_vec()));
            }
        }
        decoder.finish().map(|()| events)
    }

    /// Streams split anywhere are the same events, and encode to themselves.
    pub(crate) fn same_wherever_split(encoding: Encoding, streams: &[(&str, &[u8])]) {
        let decode = |pieces: &[&[u8]]| decode(encoding, pieces, 1 << 20);
        for (name, stream) in streams {
            let whole = decode(&[stream]).unwrap_or_else(|error| panic!("{name}: {error}"));
            let mut again = Vec::new();
            for (kind, object) in &whole {
                encode(encoding, *kind, object, &mut again);
            }
            assert!(!whole.is_empty() && again == *stream, "{name}");
            let stride = if stream.len() > 20_000 { 61 } else { 1 };
            for at in (0..stream.len()).step_by(stride) {
                assert!(
                    decode(&[&stream[..at], &stream[at..]]).as_ref() == Ok(&whole),
                    "{name} at {at}"
                );
            }
            assert!(
                decode(&stream.chunks(1).collect::<Vec<_>>()) == Ok(whole),
                "{name} byte by byte"
            );
        }
    }
}
