//! What one flash record of a mirrored collection says, and how it stands in the file.
//!
//! # The format, version 2
//!
//! A file is [`MAGIC`] (8 bytes: a byte that no text starts with, `TOON`, CR, LF to show a file that was carried as
//! text, and the format's version), then frames without gaps:
//!
//! ```text
//! u32 LE  length of the payload, 1 to MAX_PAYLOAD
//! u32 LE  CRC-32 (IEEE) of the payload
//! payload one Record in postcard's wire format 1.0; enum variants by number, in the order they are declared here
//! ```
//!
//! The first frame is a `Head`. A change to a record's fields or to the order of the variants is a new format version;
//! new variants go to the end and need one too, since an older reader takes a variant that it does not know for damage.
//!
//! `Begin` opens a snapshot (a list, or the content of a compacted file), `Complete` closes it: what stands between
//! them counts only once both are there. A `Put` or `Delete` outside of them is a watch event and counts by itself; the
//! collection is then complete at its version. A `Complete` outside is a version that nothing changed up to.
//!
//! A snapshot that was given up is cut off the file, and what is written next takes its place. After a power cut the
//! cut may be undone for some sectors and not for others, so frames of the abandoned snapshot may stand among or behind
//! new ones, whole. Two fields refuse them: `staged` tells an item of a snapshot from an event, and `check` in `Complete`
//! covers the head of every frame since `Begin`, that one included.
//!
//! `Mark` says how much of the file was on flash for certain when it was written. A reader that finds a broken frame
//! looks behind it for a mark that vouches for the broken place: with one, synced bytes have changed, and that is
//! damage; without one, the broken frame belongs to a batch that the power cut tore, and what stands before it is a
//! state that the server had.

use serde::Deserialize;
use serde::Serialize;
use serde::Serializer;

use crate::k8s::collection::Collection;
use crate::k8s::collection::Credential;
use crate::k8s::encoding::Encoding;
use crate::k8s::resource::GroupVersionResource;
use crate::k8s::selector::FieldSelector;
use crate::k8s::selector::LabelSelector;

/// The first bytes of every file; the last of them is the version of the format.
pub const MAGIC: [u8; 8] = *b"\x8bTOON\r\n\x02";

/// Bytes before a payload.
pub const FRAME_HEAD: usize = 8;

/// The longest payload: an object of 8 MiB with its key and room to spare.
pub const MAX_PAYLOAD: usize = 8 * 1024 * 1024 + 64 * 1024;

/// Where a frame stands in its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Of its first byte, from the start of the file.
    pub offset: u64,
    /// Of the whole frame, head included.
    pub len: u32,
}

impl Place {
    /// Where the next frame starts.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(u64::from(self.len))
    }
}

/// Which collection a file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    group: String,
    version: String,
    resource: String,
    namespace: Option<String>,
    /// Selectors in their canonical text.
    labels: String,
    fields: String,
    /// It is asked for in protobuf.
    protobuf: bool,
    /// The digest of the caller's credentials; none for the agent's own.
    caller: Option<String>,
}

impl Head {
    /// The head of a collection's file.
    pub fn new(collection: &Collection) -> Self {
        let GroupVersionResource {
            group,
            version,
            resource,
        } = collection.resource.clone();
        Self {
            group,
            version,
            resource,
            namespace: collection.namespace.clone(),
            labels: collection.labels.to_string(),
            fields: collection.fields.to_string(),
            protobuf: collection.encoding == Encoding::Protobuf,
            caller: match &collection.credential {
                Credential::Agent => None,
                Credential::Caller(digest) => Some(digest.clone()),
            },
        }
    }

    /// The collection; `None` when a selector cannot be read (any more).
    pub fn collection(&self) -> Option<Collection> {
        Some(Collection {
            resource: GroupVersionResource::new(&self.group, &self.version, &self.resource),
            namespace: self.namespace.clone(),
            labels: LabelSelector::parse(&self.labels).ok()?,
            fields: FieldSelector::parse(&self.fields).ok()?,
            encoding: encoding(self.protobuf),
            credential: match &self.caller {
                None => Credential::Agent,
                Some(digest) => Credential::Caller(digest.clone()),
            },
        })
    }
}

/// The encoding that a record says.
pub fn encoding(protobuf: bool) -> Encoding {
    if protobuf {
        Encoding::Protobuf
    } else {
        Encoding::Json
    }
}

/// An object, as it is put or as it was when it was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item<'a> {
    /// `NAMESPACE/NAME`.
    pub key: &'a str,
    /// The object's own version; of a deletion, the version of the deletion.
    pub version: u64,
    /// The bytes came as an item of a typed list, or stand as one would: without `kind` and `apiVersion`.
    pub typed: bool,
    /// It belongs to a snapshot and counts only with its `Complete`.
    pub staged: bool,
    /// Where this file holds what the object was before.
    pub previous: Option<Place>,
    /// JSON as it came, of protobuf the message without envelope; sealed where the file is.
    #[serde(serialize_with = "bytes")]
    pub object: &'a [u8],
}

/// Serde writes a slice of `u8` one element at a time; the bytes on flash are the same.
fn bytes<S: Serializer>(object: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(object)
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record<'a> {
    /// Which collection this is; first in every file and nowhere else.
    Head(Head),
    /// What its objects are.
    Type {
        /// `kind` of an object, without `List`.
        kind: &'a str,
        /// `apiVersion` of an object.
        api_version: &'a str,
        /// Lists are typed: items stand in them without `kind` and `apiVersion`.
        typed: bool,
        /// They are in protobuf.
        protobuf: bool,
    },
    /// A snapshot starts.
    Begin,
    /// An object is there.
    #[serde(borrow)]
    Put(Item<'a>),
    /// An object is gone.
    Delete(Item<'a>),
    /// The collection is complete at this version.
    Complete {
        /// C.
        version: u64,
        /// Of a snapshot, [`fold`] over its frames; 0 outside of one.
        check: u32,
    },
    /// Deletions up to this version are not all known any more: a watch can be replayed from this version on only.
    Oldest {
        /// L.
        version: u64,
    },
    /// What was certain when it was written.
    Mark {
        /// The file was synced up to this offset.
        synced: u64,
        /// When the collection was last known to be current, seconds since 1970; 0 when never.
        fresh: u64,
    },
    /// The objects of this file are sealed (how, says who seals them: `state::mirror`). Second in the file and nowhere else.
    Sealed {
        /// With which key.
        key: u64,
    },
}

/// A record too long to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// Appends the frame of `record` to `buffer`, which an error leaves as it was. The place is within `buffer`.
pub fn append(buffer: &mut Vec<u8>, record: &Record<'_>) -> Result<Place, TooLong> {
    let start = buffer.len();
    if let Record::Put(item) | Record::Delete(item) = record {
        if item.object.len() > MAX_PAYLOAD {
            return Err(TooLong);
        }
        buffer.reserve(item.object.len() + item.key.len() + 64);
    }
    buffer.extend_from_slice(&[0; FRAME_HEAD]);
    // Writing to a `Vec` does not fail, and neither does serializing any of the types above.
    *buffer = postcard::to_extend(record, std::mem::take(buffer)).map_err(|_| TooLong)?;
    let (head, payload) = match buffer
        .get_mut(start..)
        .map(|frame| frame.split_at_mut(FRAME_HEAD))
    {
        Some((head, payload)) if payload.len() <= MAX_PAYLOAD => (head, payload),
        _ => {
            buffer.truncate(start);
            return Err(TooLong);
        }
    };
    // MAX_PAYLOAD is far below u32::MAX.
    let len = payload.len() as u32;
    let (length, check) = head.split_at_mut(4);
    length.copy_from_slice(&len.to_le_bytes());
    check.copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
    Ok(Place {
        offset: start as u64,
        len: len + FRAME_HEAD as u32,
    })
}

/// How long the frame is whose first bytes are `head`; `None` when no frame starts so.
pub fn frame_len(head: &[u8]) -> Option<u32> {
    let length = u32::from_le_bytes(*head.first_chunk::<4>()?);
    ((1..=MAX_PAYLOAD as u32).contains(&length)).then(|| length + FRAME_HEAD as u32)
}

/// Reads a whole frame; `None` when its checksum or its content is not one of a record.
pub fn parse(frame: &[u8]) -> Option<Record<'_>> {
    let (head, payload) = frame.split_at_checked(FRAME_HEAD)?;
    let check = u32::from_le_bytes(*head.last_chunk::<4>()?);
    if u64::from(frame_len(head)?) != frame.len() as u64 || check != crc32fast::hash(payload) {
        return None;
    }
    match postcard::take_from_bytes(payload) {
        Ok((record, [])) => Some(record),
        _ => None,
    }
}

/// Takes the head of one more frame into the checksum of a snapshot, which starts at 0.
pub fn fold(check: u32, head: [u8; FRAME_HEAD]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(check);
    hasher.update(&head);
    hasher.finalize()
}

/// The longest frame of a [`Record::Mark`].
pub const MARK_LEN: usize = FRAME_HEAD + 1 + 10 + 10;

/// The furthest synced offset that any whole mark in `bytes` vouches for, wherever it stands.
pub fn vouched(bytes: &[u8]) -> Option<u64> {
    let mark = |at: usize| {
        let rest = bytes.get(at..)?;
        let len = frame_len(rest).filter(|len| *len as usize <= MARK_LEN)?;
        match parse(rest.get(..len as usize)?)? {
            Record::Mark { synced, .. } => Some(synced),
            _ => None,
        }
    };
    (0..bytes.len()).filter_map(mark).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(credential: Credential) -> Head {
        Head::new(&Collection {
            resource: GroupVersionResource::new("discovery.k8s.io", "v1", "endpointslices"),
            namespace: Some("default".into()),
            labels: LabelSelector::default(),
            fields: FieldSelector::default(),
            encoding: Encoding::Protobuf,
            credential,
        })
    }

    fn all(object: &[u8]) -> Vec<Record<'_>> {
        let item = Item {
            key: "default/web",
            version: 300,
            typed: true,
            staged: false,
            previous: Some(Place {
                offset: 8,
                len: 200,
            }),
            object,
        };
        vec![
            Record::Head(head(Credential::Caller("ab12".into()))),
            Record::Type {
                kind: "EndpointSlice",
                api_version: "discovery.k8s.io/v1",
                typed: true,
                protobuf: true,
            },
            Record::Begin,
            Record::Put(item),
            Record::Delete(Item {
                version: u64::MAX,
                previous: None,
                ..item
            }),
            Record::Complete {
                version: 301,
                check: u32::MAX,
            },
            Record::Oldest { version: 0 },
            Record::Mark {
                synced: u64::MAX,
                fresh: 1_790_000_000,
            },
            Record::Sealed { key: u64::MAX },
        ]
    }

    #[test]
    fn every_record_reads_back_as_it_was_written() {
        let mut buffer = Vec::new();
        for record in all(br#"{"metadata":{"name":"web"}}"#) {
            let place = append(&mut buffer, &record).expect("short");
            let frame = &buffer[place.offset as usize..place.end() as usize];
            assert_eq!(place.end(), buffer.len() as u64);
            assert_eq!(frame_len(frame), Some(place.len));
            assert_eq!(parse(frame), Some(record));
        }
    }

    #[test]
    fn the_bytes_on_flash_are_fixed() {
        let mut buffer = Vec::new();
        let item = Item {
            key: "a/b",
            version: 300,
            typed: true,
            staged: false,
            previous: Some(Place { offset: 8, len: 9 }),
            object: b"{}",
        };
        append(&mut buffer, &Record::Put(item)).expect("short");
        assert_eq!(
            buffer,
            b"\x0f\0\0\0\x95HP=\x03\x03a/b\xac\x02\x01\0\x01\x08\x09\x02{}"
        );
        assert_eq!(
            fold(fold(0, [1; 8]), [2; 8]),
            fold(crc32fast::hash(&[1; 8]), [2; 8])
        );
    }

    #[test]
    fn a_head_names_its_collection() {
        for credential in [Credential::Agent, Credential::Caller("ab12".into())] {
            let head = head(credential.clone());
            let collection = head.collection().expect("selectors");
            assert_eq!(collection.credential, credential);
            assert_eq!(
                collection.path(),
                "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
            );
            assert_eq!(Head::new(&collection), head);
        }
    }

    #[test]
    fn a_frame_with_any_byte_changed_or_missing_is_refused() {
        for record in all(b"{\"a\":1}") {
            let mut frame = Vec::new();
            append(&mut frame, &record).expect("short");
            for at in 0..frame.len() {
                assert_eq!(parse(&frame[..at]), None);
                for bit in 0..8 {
                    let mut changed = frame.clone();
                    changed[at] ^= 1 << bit;
                    assert_eq!(parse(&changed), None, "{record:?} byte {at} bit {bit}");
                }
            }
            frame.push(0);
            assert_eq!(parse(&frame), None);
        }
        assert_eq!(parse(&[0; 64]), None, "zeros are no frame");
        assert_eq!(frame_len(&[0xff; 8]), None, "no allocation of that size");
    }

    #[test]
    fn what_is_too_long_is_not_written() {
        let object = vec![b' '; MAX_PAYLOAD];
        let mut buffer = b"before".to_vec();
        for object in [&object[..], &object[..MAX_PAYLOAD - 8]] {
            let item = Item {
                key: "a/b",
                version: 1,
                typed: false,
                staged: true,
                previous: None,
                object,
            };
            assert_eq!(append(&mut buffer, &Record::Put(item)), Err(TooLong));
            assert_eq!(buffer, b"before");
        }
    }

    #[test]
    fn a_mark_is_found_wherever_it_stands() {
        let mut bytes = vec![7; 100];
        let mark = |synced| Record::Mark { synced, fresh: 5 };
        append(&mut bytes, &mark(40)).expect("short");
        bytes.extend_from_slice(b"{\"torn\":");
        append(&mut bytes, &mark(70)).expect("short");
        append(&mut bytes, &Record::Begin).expect("short");
        assert_eq!(vouched(&bytes), Some(70));
        assert_eq!(vouched(&bytes[..110]), None);
        assert_eq!(vouched(&[]), None);
    }
}
