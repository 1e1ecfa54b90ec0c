//! Watch streams in protobuf: each event is a length of four bytes, big endian, and a bare `WatchEvent` of that length, whose
//! object is a `RawExtension` that holds an object as it stands alone, with magic and envelope (kubernetes-wire 2.3).

use crate::k8s::object::ResourceVersion;
use crate::wire::buffer::drop_front;
use crate::wire::error::Error;
use crate::wire::protobuf;
use crate::wire::protobuf::field_len;
use crate::wire::protobuf::put_bytes;
use crate::wire::protobuf::put_head;
use crate::wire::watch::Event;
use crate::wire::watch::EventType;

/// What stands before each event.
const LENGTH: usize = 4;

/// Takes a stream apart; keeps one event at the most.
pub struct WatchDecoder {
    buffer: Vec<u8>,
    done: usize,
    limit: usize,
}

impl WatchDecoder {
    /// A decoder that takes events of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            buffer: Vec::new(),
            done: 0,
            limit,
        }
    }

    /// Takes the next bytes. What they make is then told by [`event`](Self::event).
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), Error> {
        drop_front(&mut self.buffer, self.done);
        self.done = 0;
        self.buffer.extend_from_slice(chunk);
        Ok(())
    }

    /// The next event, `None` when more bytes are needed. A length beyond the limit is an error before anything of that
    /// length is kept.
    pub fn event(&mut self) -> Result<Option<Event<'_>>, Error> {
        let rest = self.buffer.get(self.done..).unwrap_or_default();
        let Some((length, rest)) = rest.split_first_chunk::<LENGTH>() else {
            return Ok(None);
        };
        let len = usize::try_from(u32::from_be_bytes(*length))
            .ok()
            .filter(|len| *len <= self.limit)
            .ok_or(Error::TooLarge { limit: self.limit })?;
        let Some(frame) = rest.get(..len) else {
            return Ok(None);
        };
        self.done += LENGTH + len;
        read(frame).map(Some)
    }

    /// An error if the stream has ended inside an event.
    pub fn finish(&self) -> Result<(), Error> {
        if self.done == self.buffer.len() {
            Ok(())
        } else {
            Err(Error::Truncated)
        }
    }
}

fn read(frame: &[u8]) -> Result<Event<'_>, Error> {
    let (mut kind, mut object) = (None, None);
    for field in protobuf::fields(frame) {
        let field = field?;
        match (field.number, field.bytes()) {
            (1, Some(name)) => {
                kind = Some(
                    EventType::parse(name)
                        .ok_or(Error::malformed("a watch event of an unknown type"))?,
                );
            }
            (2, Some(extension)) => {
                object = match protobuf::find(extension, &[1])? {
                    Some(protobuf::Value::Bytes(raw)) => Some(raw),
                    _ => None,
                };
            }
            _ => {}
        }
    }
    match (kind, object) {
        (Some(kind), Some(object)) => Ok(Event { kind, object }),
        _ => Err(Error::malformed("a watch event without type or object")),
    }
}

/// Appends an event of the type that is written `kind`, with an object as it stands alone.
pub fn encode(kind: &str, object: &[u8], out: &mut Vec<u8>) {
    let extension = field_len(1, object.len());
    let len = field_len(1, kind.len()) + field_len(2, extension);
    // An object is a few megabytes at the most.
    out.extend_from_slice(&(len as u32).to_be_bytes());
    put_bytes(1, kind.as_bytes(), out);
    put_head(2, extension as u64, out);
    put_bytes(1, object, out);
}

/// The object of a bookmark: nothing but its version, and the annotation when all that was there has been sent.
pub(crate) fn bookmark(
    api_version: &str,
    kind: &str,
    version: ResourceVersion,
    initial_events_end: bool,
) -> Vec<u8> {
    let mut meta = Vec::new();
    put_bytes(6, version.to_string().as_bytes(), &mut meta);
    if initial_events_end {
        let mut annotation = Vec::new();
        put_bytes(1, b"k8s.io/initial-events-end", &mut annotation);
        put_bytes(2, b"true", &mut annotation);
        put_bytes(12, &annotation, &mut meta);
    }
    let mut object = Vec::new();
    put_bytes(1, &meta, &mut object);
    let mut out = Vec::new();
    protobuf::wrap(api_version, kind, &object, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::encoding::Encoding;
    use crate::wire::protobuf::object;
    use crate::wire::watch::testing;

    macro_rules! golden {
        ($($name:literal),*) => {
            [$(($name, include_bytes!(concat!("../../../tests/golden/", $name, "_protobuf.body")) as &[u8])),*]
        };
    }

    const STREAMS: [(&str, &[u8]); 6] = golden!(
        "watch_configmaps",
        "watch_configmaps_half",
        "watch_expired",
        "watch_from_zero_endpointslices",
        "watch_future_rv",
        "watchlist_services"
    );

    fn decode(pieces: &[&[u8]], limit: usize) -> Result<testing::Events, Error> {
        testing::decode(Encoding::Protobuf, pieces, limit)
    }

    #[test]
    fn golden_streams_split_anywhere_are_the_same_events_and_encode_to_themselves() {
        testing::same_wherever_split(Encoding::Protobuf, &STREAMS);
    }

    #[test]
    fn a_stream_may_end_between_events_only() {
        let (_, stream) = STREAMS[0];
        let mut ends = vec![0];
        while let Some(length) = stream[ends[ends.len() - 1]..].first_chunk::<4>() {
            ends.push(ends[ends.len() - 1] + 4 + u32::from_be_bytes(*length) as usize);
        }
        for at in 0..stream.len() {
            let whole = decode(&[&stream[..at]], 1 << 20).is_ok();
            assert_eq!(whole, ends.contains(&at), "at {at}");
        }
    }

    #[test]
    fn objects_of_events_go_into_lists_and_come_out_the_same() {
        for (name, stream) in STREAMS {
            for (kind, bytes) in decode(&[stream], 1 << 20).expect("whole") {
                let unknown = protobuf::open(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
                let mut again = Vec::new();
                protobuf::wrap(unknown.api_version, unknown.kind, unknown.raw, &mut again);
                assert_eq!(again, bytes, "{name}");
                if matches!(kind, EventType::Added | EventType::Modified) {
                    object::key_and_version(unknown.raw).unwrap_or_else(|e| panic!("{name}: {e}"));
                }
            }
        }
    }

    #[test]
    fn bookmarks_say_what_the_servers_say() {
        let events = decode(&[STREAMS[5].1], 1 << 20).expect("whole");
        let (_, theirs) = events
            .iter()
            .find(|(kind, _)| *kind == EventType::Bookmark)
            .expect("a bookmark");
        let meta = object::meta(theirs).expect("an object");
        let version = meta.resource_version.expect("a version");
        assert!(meta.initial_events_end);
        let ours = bookmark("v1", "Service", version, true);
        assert_eq!(object::meta(&ours), Ok(meta));
        let plain = object::meta(&bookmark("v1", "Service", version, false)).expect("an object");
        assert!(!plain.initial_events_end && plain.resource_version == Some(version));
    }

    #[test]
    fn what_is_no_event_or_too_large_is_refused() {
        // Four gigabytes are announced: refused at the fourth byte.
        let refused = decode(&[&[0xff; 4]], 1 << 20);
        assert_eq!(refused, Err(Error::TooLarge { limit: 1 << 20 }));
        let mut unknown = Vec::new();
        encode("CHANGED", b"k8s\0", &mut unknown);
        let mut empty = Vec::new();
        encode("ADDED", b"", &mut empty);
        for bad in [
            &unknown[..],
            &[0, 0, 0, 0],
            &[0, 0, 0, 1, 0x0b],
            &[0, 0, 0, 2, 0x0a, 9],
        ] {
            assert!(decode(&[bad], 1 << 20).is_err(), "{bad:x?}");
        }
        let empty = decode(&[&empty], 1 << 20).expect("an event");
        assert!(object::meta(&empty[0].1).is_err());
    }
}
