//! Lists, in the encoding that they come in: taken apart item by item, and put together from items.

use crate::k8s::encoding::Encoding;
use crate::k8s::object::ResourceVersion;
use crate::wire::error::Error;
use crate::wire::json::Skip;
use crate::wire::json::list as json;
use crate::wire::protobuf::list as protobuf;

pub use crate::wire::protobuf::list::item_len;

/// The largest object that is taken, in bytes. etcd's default limit is 1.5 MiB a request, the API server's 3 MiB.
pub const OBJECT_LIMIT: usize = 8 << 20;
/// The largest envelope that is taken: continue tokens are its largest part.
pub(crate) const ENVELOPE_LIMIT: usize = 64 << 10;

/// A part of a list. All prefixes, the items, and all suffixes are the list: in JSON with commas between the items, in
/// protobuf with the head of a field before each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// All before the first item.
    Prefix(&'a [u8]),
    /// An item, exactly as it came.
    Item(&'a [u8]),
    /// From behind the last item on.
    Suffix(&'a [u8]),
}

/// What the envelope says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListMeta {
    /// The kind of the list, e.g. `PodList`.
    pub kind: String,
    /// Its `apiVersion`.
    pub api_version: String,
    /// The version that the list stands at.
    pub resource_version: Option<ResourceVersion>,
    /// The token for the next page; empty on the last one.
    pub continue_token: String,
    /// A typed list, whose items do not say their kind: in JSON its own kind came before the items.
    pub typed: bool,
}

/// Takes a list apart; keeps one item and the envelope at the most.
pub enum ListDecoder {
    /// Of a list in JSON.
    Json(json::ListDecoder),
    /// Of a list in protobuf.
    Protobuf(protobuf::ListDecoder),
}

impl ListDecoder {
    /// A decoder that takes items of at most `limit` bytes.
    pub fn new(encoding: Encoding, limit: usize) -> Self {
        match encoding {
            Encoding::Json => Self::Json(json::ListDecoder::new(limit)),
            Encoding::Protobuf => Self::Protobuf(protobuf::ListDecoder::new(limit)),
        }
    }

    /// Takes the next bytes. What they make is then told by [`part`](Self::part).
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), Error> {
        match self {
            Self::Json(decoder) => decoder.push(chunk),
            Self::Protobuf(decoder) => decoder.push(chunk),
        }
    }

    /// What the envelope has said so far: of a typed list all of it is known at the first item.
    pub fn meta(&self) -> &ListMeta {
        match self {
            Self::Json(decoder) => decoder.meta(),
            Self::Protobuf(decoder) => decoder.meta(),
        }
    }

    /// The next part, `None` when more bytes are needed.
    pub fn part(&mut self) -> Result<Option<Part<'_>>, Error> {
        match self {
            Self::Json(decoder) => decoder.part(),
            Self::Protobuf(decoder) => decoder.part(),
        }
    }

    /// Whether an item may come next.
    pub fn is_between_items(&self) -> bool {
        match self {
            Self::Json(decoder) => decoder.is_between_items(),
            Self::Protobuf(decoder) => decoder.is_between_items(),
        }
    }

    /// Passes over the next item if it is `item`, byte for byte: it is then not told by [`part`](Self::part), which would
    /// have told just that. `item` must be one whole item, such as was told before. When it is [open](Skip::Open), more
    /// bytes are needed; anything else is left for `part`.
    pub fn pass(&mut self, item: &[u8]) -> Skip {
        match self {
            Self::Json(decoder) => decoder.pass(item),
            Self::Protobuf(decoder) => decoder.pass(item),
        }
    }

    /// What the envelope says, once the list has ended; an error if it has not, or was none.
    pub fn finish(self) -> Result<ListMeta, Error> {
        match self {
            Self::Json(decoder) => decoder.finish(),
            Self::Protobuf(decoder) => decoder.finish(),
        }
    }
}

/// Puts the parts of one list together again, some of its items left out.
pub struct Rejoin {
    encoding: Encoding,
    kept: usize,
}

impl Rejoin {
    /// Nothing yet.
    pub fn new(encoding: Encoding) -> Self {
        Self { encoding, kept: 0 }
    }

    /// Appends a prefix or a suffix; without the number of items that are left, if items may be left out.
    pub fn envelope(&self, bytes: &[u8], sifted: bool, out: &mut Vec<u8>) {
        match self.encoding {
            _ if !sifted => out.extend_from_slice(bytes),
            Encoding::Json => out.extend_from_slice(&json::without_count(bytes)),
            Encoding::Protobuf => out.extend_from_slice(&protobuf::without_count(bytes)),
        }
    }

    /// Appends an item, or what stands in its place when it is left out.
    pub fn item(&mut self, item: &[u8], admitted: bool, out: &mut Vec<u8>) {
        match (self.encoding, admitted) {
            (Encoding::Json, true) => {
                if self.kept > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(item);
                self.kept += 1;
            }
            (Encoding::Json, false) => {}
            (Encoding::Protobuf, true) => {
                protobuf::item_head(item.len(), out);
                out.extend_from_slice(item);
            }
            (Encoding::Protobuf, false) => protobuf::skipped(item.len(), out),
        }
    }
}

/// Puts a list together from items, in the form in which the API server writes that kind.
pub enum ListEncoder {
    /// A list in JSON.
    Json(json::ListEncoder),
    /// A list in protobuf.
    Protobuf(protobuf::ListEncoder),
}

impl ListEncoder {
    /// A list in JSON of objects of `kind` and `api_version` at `version`; `typed`: of a built-in kind.
    pub fn json(kind: &str, api_version: &str, typed: bool, version: ResourceVersion) -> Self {
        Self::Json(json::ListEncoder::new(kind, api_version, typed, version))
    }

    /// A list in protobuf of objects of `kind` and `api_version` at `version`; `items`: what [`item_len`] says of each of its
    /// items, in all.
    pub fn protobuf(kind: &str, api_version: &str, version: ResourceVersion, items: u64) -> Self {
        Self::Protobuf(protobuf::ListEncoder::new(
            kind,
            api_version,
            version,
            items,
        ))
    }

    /// Appends all before the first item.
    pub fn start(&self, out: &mut Vec<u8>) {
        match self {
            Self::Json(encoder) => encoder.start(out),
            Self::Protobuf(encoder) => encoder.start(out),
        }
    }

    /// Appends an item.
    pub fn item(&mut self, item: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Json(encoder) => encoder.item(item, out),
            Self::Protobuf(encoder) => encoder.item(item, out),
        }
    }

    /// Appends all behind the last item.
    pub fn finish(&self, out: &mut Vec<u8>) {
        match self {
            Self::Json(encoder) => encoder.finish(out),
            Self::Protobuf(encoder) => encoder.finish(out),
        }
    }
}

/// What the decoders of both encodings are tested with.
#[cfg(test)]
pub(crate) mod testing {
    use crate::k8s::encoding::Encoding;
    use crate::wire::error::Error;
    use crate::wire::json::Skip;
    use crate::wire::list::ListDecoder;
    use crate::wire::list::ListMeta;
    use crate::wire::list::OBJECT_LIMIT;
    use crate::wire::list::Part;

    /// A list's items, what is around them, how it ended, and how many guesses were right.
    pub(crate) type Guessed = (Vec<Vec<u8>>, Vec<u8>, Result<ListMeta, Error>, usize);

    /// Decodes a list that comes in pieces; `guesses` are what the items are taken to be, in their order.
    pub(crate) fn guessing(
        encoding: Encoding,
        pieces: &[&[u8]],
        guesses: &[Vec<u8>],
        limit: usize,
    ) -> Guessed {
        let mut decoder = ListDecoder::new(encoding, limit);
        let (mut items, mut around, mut passed) = (Vec::new(), Vec::new(), 0);
        let mut feed = |decoder: &mut ListDecoder| {
            let mut next = 0;
            for piece in pieces {
                decoder.push(piece)?;
                loop {
                    if let Some(guess) = guesses.get(next).filter(|_| decoder.is_between_items()) {
                        match decoder.pass(guess) {
                            Skip::Whole => {
                                items.push(guess.clone());
                                (next, passed) = (next + 1, passed + 1);
                                continue;
                            }
                            Skip::Open => break,
                            Skip::Other => {}
                        }
                    }
                    match decoder.part()? {
                        None => break,
                        Some(Part::Prefix(bytes) | Part::Suffix(bytes)) => {
                            around.extend_from_slice(bytes);
                        }
                        Some(Part::Item(item)) => {
                            let found = guesses.iter().position(|guess| guess == item);
                            next = found.map_or(next + 1, |at| at + 1);
                            items.push(item.to_vec());
                        }
                    }
                }
            }
            Ok(())
        };
        let end = feed(&mut decoder).and_then(|()| decoder.finish());
        (items, around, end, passed)
    }

    /// Whatever is guessed of a list, however it comes and whatever is wrong with it, it is the list that it is without a
    /// guess. `longer` makes of an item something that begins like it.
    pub(crate) fn same_whatever_was_guessed(
        encoding: Encoding,
        lists: &[(&str, &[u8])],
        longer: fn(&[u8]) -> Vec<u8>,
    ) {
        let guessing = |pieces: &[&[u8]], guesses: &[Vec<u8>]| {
            guessing(encoding, pieces, guesses, OBJECT_LIMIT)
        };
        for (name, list) in lists {
            let (items, around, meta, _) = guessing(&[list], &[]);
            assert!(meta.is_ok(), "{name}");
            let halves: Vec<_> = items.iter().step_by(2).cloned().collect();
            let mut altered = items.clone();
            for (n, item) in altered.iter_mut().enumerate() {
                let at = n * 31 % item.len();
                item[at] ^= 4;
            }
            let mut shuffled = items.clone();
            shuffled.reverse();
            let longer = items.iter().map(|item| longer(item)).collect();
            for guesses in &[items.clone(), halves, altered, shuffled, longer] {
                for at in (0..list.len()).step_by(list.len() / 80 + 1) {
                    let got = guessing(&[&list[..at], &list[at..]], guesses);
                    assert!(
                        (&got.0, &got.1, &got.2) == (&items, &around, &meta),
                        "{name} at {at}"
                    );
                    // And with a byte changed, and in pieces.
                    let mut wrong = list.to_vec();
                    wrong[at] ^= 1;
                    let slow = guessing(&[&wrong], &[]);
                    let pieces: Vec<&[u8]> = wrong.chunks(1 + at % 700).collect();
                    let got = guessing(&pieces, guesses);
                    assert!(
                        (&got.0, &got.2) == (&slow.0, &slow.2),
                        "{name} changed at {at}: {:?} {:?}",
                        got.2,
                        slow.2
                    );
                }
            }
            let bytes: Vec<&[u8]> = list.chunks(1).collect();
            for pieces in [&[*list][..], &bytes] {
                let passed = guessing(pieces, &items).3;
                assert_eq!(passed, items.len(), "{name}: all of them were right");
            }
        }
    }
}
