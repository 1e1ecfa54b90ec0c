//! Lists in protobuf: taken apart item by item as they come, and put together from items.
//!
//! The magic, then a `runtime.Unknown` whose `raw` is the list: `ListMeta` as field 1, and each item, a bare message, as a
//! field 2 (kubernetes-wire 2.3). The length of `raw` stands before the first item, so who drops items from a list that is
//! on its way can't make it shorter: a dropped item becomes a field that readers skip, of the same length and all zeros.

use crate::k8s::object::ResourceVersion;
use crate::wire::buffer::drop_front;
use crate::wire::error::Error;
use crate::wire::json::Skip;
use crate::wire::list::ENVELOPE_LIMIT;
use crate::wire::list::ListMeta;
use crate::wire::list::Part;
use crate::wire::protobuf;
use crate::wire::protobuf::Kind;
use crate::wire::protobuf::MAGIC;
use crate::wire::protobuf::VARINT_MAX;
use crate::wire::protobuf::Value;

/// The items of a list.
const ITEMS: u32 = 2;
/// A field that no list and no `ListMeta` has; its tag is one byte, as those of the fields are that it stands in for.
const SKIPPED: u32 = 15;
/// `ListMeta.remainingItemCount`.
const REMAINING: u32 = 4;

/// Takes a list apart; keeps one item and the envelope at the most.
pub struct ListDecoder {
    buffer: Vec<u8>,
    /// Read up to here; what is before `done` has been handed out.
    at: usize,
    done: usize,
    limit: usize,
    place: Place,
    meta: ListMeta,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Magic,
    /// Among the envelope's fields; whether the list itself has been seen.
    Envelope {
        seen: bool,
    },
    /// In the list, of which so many bytes are to come.
    List {
        left: u64,
    },
}

impl ListDecoder {
    /// A decoder that takes items of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            buffer: Vec::new(),
            at: 0,
            done: 0,
            limit,
            place: Place::Magic,
            meta: ListMeta {
                typed: true,
                ..ListMeta::default()
            },
        }
    }

    /// Takes the next bytes. What they make is then told by [`part`](Self::part).
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), Error> {
        drop_front(&mut self.buffer, self.done);
        self.at -= self.done;
        self.done = 0;
        // What is kept from before is one unfinished field, whose length was looked at if it is known.
        self.buffer.extend_from_slice(chunk);
        Ok(())
    }

    /// What the envelope has said so far.
    pub fn meta(&self) -> &ListMeta {
        &self.meta
    }

    /// The next part, `None` when more bytes are needed. All prefixes and suffixes, and the items each behind
    /// [`item_head`], are the list.
    pub fn part(&mut self) -> Result<Option<Part<'_>>, Error> {
        loop {
            let rest = self.buffer.get(self.at..).unwrap_or_default();
            match self.place {
                Place::Magic => {
                    let have = rest.len().min(MAGIC.len());
                    if rest.get(..have) != MAGIC.get(..have) {
                        return Err(Error::malformed("protobuf without Kubernetes' magic"));
                    }
                    if have < MAGIC.len() {
                        return Ok(None);
                    }
                    self.at += have;
                    self.place = Place::Envelope { seen: false };
                }
                Place::Envelope { seen } => {
                    let Some(head) = protobuf::head(rest)? else {
                        return Ok(self.hand_out_suffix(seen));
                    };
                    match (head.number, head.kind) {
                        (2, Kind::Bytes(_)) if seen => {
                            return Err(Error::malformed("a list with two lists of items"));
                        }
                        (2, Kind::Bytes(left)) => {
                            self.at += head.len;
                            self.place = Place::List { left };
                        }
                        _ => {
                            let Some(len) = self.whole(head, ENVELOPE_LIMIT)? else {
                                return Ok(self.hand_out_suffix(seen));
                            };
                            self.envelope(len)?;
                        }
                    }
                }
                Place::List { left: 0 } => {
                    self.place = Place::Envelope { seen: true };
                    // An empty list, or what followed the last item.
                    if self.at > self.done {
                        return Ok(Some(Part::Prefix(self.hand_out(self.at))));
                    }
                }
                Place::List { left } => {
                    let Some(head) = protobuf::head(rest)? else {
                        return Ok(None);
                    };
                    let is_item = head.number == ITEMS && matches!(head.kind, Kind::Bytes(_));
                    if is_item && self.at > self.done {
                        return Ok(Some(Part::Prefix(self.hand_out(self.at))));
                    }
                    let limit = if is_item { self.limit } else { ENVELOPE_LIMIT };
                    let Some(len) = self.whole(head, limit)? else {
                        return Ok(None);
                    };
                    let left = left
                        .checked_sub(len as u64)
                        .ok_or(Error::malformed("a list that is longer than it says"))?;
                    self.place = Place::List { left };
                    if is_item {
                        let body = len - head.len;
                        if head.len != item_head_len(body) {
                            return Err(Error::malformed("a length that is not written shortest"));
                        }
                        self.done = self.at + head.len;
                        self.at += len;
                        return Ok(Some(Part::Item(self.hand_out(self.at))));
                    }
                    self.member(head.number, head.len, len)?;
                }
            }
        }
    }

    /// Whether an item may come next.
    pub fn is_between_items(&self) -> bool {
        matches!(self.place, Place::List { left } if left > 0) && self.at == self.done
    }

    /// Passes over the next item if it is `item`, byte for byte (see [`crate::wire::list::ListDecoder::pass`]).
    pub fn pass(&mut self, item: &[u8]) -> Skip {
        let Place::List { left } = self.place else {
            return Skip::Other;
        };
        let len = item_head_len(item.len()) + item.len();
        let Some(left) = left
            .checked_sub(len as u64)
            .filter(|_| item.len() <= self.limit)
        else {
            return Skip::Other;
        };
        let mut head = Vec::with_capacity(VARINT_MAX + 1);
        item_head(item.len(), &mut head);
        let rest = self.buffer.get(self.at..).unwrap_or_default();
        let (first, rest) = rest.split_at(rest.len().min(head.len()));
        let second = rest.get(..rest.len().min(item.len())).unwrap_or_default();
        if !head.starts_with(first) || !item.starts_with(second) {
            return Skip::Other;
        }
        if first.len() + second.len() < len {
            // What is kept between items is bounded; a longer one is read as it comes.
            return if item.len() >= ENVELOPE_LIMIT {
                Skip::Other
            } else {
                Skip::Open
            };
        }
        self.at += len;
        self.done = self.at;
        self.place = Place::List { left };
        Skip::Whole
    }

    /// How long the field is that starts here with `head`, once all of it is there.
    fn whole(&self, head: protobuf::FieldHead, limit: usize) -> Result<Option<usize>, Error> {
        let rest = self.buffer.get(self.at..).unwrap_or_default();
        let len = match head.kind {
            Kind::Fixed(len) => head.len + len,
            Kind::Bytes(len) => match usize::try_from(len) {
                Ok(len) if len <= limit => head.len + len,
                _ => return Err(Error::TooLarge { limit }),
            },
            Kind::Varint => match protobuf::varint(rest.get(head.len..).unwrap_or_default())? {
                Some((_, len)) => head.len + len,
                None => return Ok(None),
            },
        };
        Ok((rest.len() >= len).then_some(len))
    }

    /// A field of the envelope, `len` bytes long.
    fn envelope(&mut self, len: usize) -> Result<(), Error> {
        let span = self.buffer.get(self.at..self.at + len).unwrap_or_default();
        for field in protobuf::fields(span) {
            let field = field?;
            match (field.number, field.bytes()) {
                (1, Some(type_meta)) => {
                    let (api_version, kind) = protobuf::type_of(type_meta)?;
                    self.meta.api_version = api_version.to_owned();
                    self.meta.kind = kind.to_owned();
                }
                (3, Some(encoding)) if !encoding.is_empty() => {
                    return Err(Error::malformed("a list that is packed once more"));
                }
                _ => {}
            }
        }
        self.at += len;
        Ok(())
    }

    /// A field of the list that is no item.
    fn member(&mut self, number: u32, head: usize, len: usize) -> Result<(), Error> {
        let body = self
            .buffer
            .get(self.at + head..self.at + len)
            .unwrap_or_default();
        if number == 1 {
            for field in protobuf::fields(body) {
                let field = field?;
                match (field.number, field.text()) {
                    (2, Some(text)) => self.meta.resource_version = ResourceVersion::parse(text),
                    (3, Some(text)) => self.meta.continue_token = text.to_owned(),
                    _ => {}
                }
            }
        }
        self.at += len;
        Ok(())
    }

    fn hand_out_suffix(&mut self, seen: bool) -> Option<Part<'_>> {
        (seen && self.at > self.done).then(|| Part::Suffix(self.hand_out(self.at)))
    }

    fn hand_out(&mut self, end: usize) -> &[u8] {
        let start = std::mem::replace(&mut self.done, end);
        self.buffer.get(start..end).unwrap_or_default()
    }

    /// What the envelope says, once the list has ended; an error if it has not, or was none.
    pub fn finish(self) -> Result<ListMeta, Error> {
        if self.place != (Place::Envelope { seen: true }) || self.at < self.buffer.len() {
            return Err(Error::Truncated);
        }
        Ok(self.meta)
    }
}

/// Appends what stands before an item of `len` bytes.
pub fn item_head(len: usize, out: &mut Vec<u8>) {
    protobuf::put_head(ITEMS, len as u64, out);
}

fn item_head_len(len: usize) -> usize {
    protobuf::field_len(ITEMS, len) - len
}

/// Appends what stands in for an item that is kept from a client: a field that readers skip, as long as the item was.
pub fn skipped(len: usize, out: &mut Vec<u8>) {
    protobuf::put_head(SKIPPED, len as u64, out);
    out.resize(out.len() + len, 0);
}

/// A list's first bytes with `remainingItemCount` made a field that readers skip: who drops items does not know how many are
/// left. It is looked for where the API server writes it, in the `ListMeta` that the list starts with.
pub fn without_count(prefix: &[u8]) -> Vec<u8> {
    let mut out = prefix.to_vec();
    if let Some(at) = count_at(prefix)
        && let Some(tag) = out.get_mut(at)
    {
        *tag = (SKIPPED << 3) as u8;
    }
    out
}

/// Where the tag of the count stands.
fn count_at(prefix: &[u8]) -> Option<usize> {
    let mut at = MAGIC.len();
    let head = |at: usize| protobuf::head(prefix.get(at..)?).ok()?;
    if !prefix.starts_with(&MAGIC) {
        return None;
    }
    loop {
        let field = head(at)?;
        match (field.number, field.kind) {
            (2, Kind::Bytes(_)) => {
                at += field.len;
                break;
            }
            (_, Kind::Bytes(len)) => at += field.len + usize::try_from(len).ok()?,
            _ => return None,
        }
    }
    let meta = head(at).filter(|meta| meta.number == 1)?;
    let Kind::Bytes(len) = meta.kind else {
        return None;
    };
    at += meta.len;
    let body = prefix.get(at..at.checked_add(usize::try_from(len).ok()?)?)?;
    for field in protobuf::fields(body).map_while(Result::ok) {
        if field.number == REMAINING && matches!(field.value, Value::Varint(_)) {
            return Some(at);
        }
        at += field.span.len();
    }
    None
}

/// Puts a list together from items whose lengths are known before the first of them.
pub struct ListEncoder {
    head: Vec<u8>,
}

impl ListEncoder {
    /// A list of objects of `kind` and `api_version` at `version`; `items`: what [`item_len`] says of each of them, in all.
    pub fn new(kind: &str, api_version: &str, version: ResourceVersion, items: u64) -> Self {
        let mut meta = Vec::new();
        protobuf::put_bytes(1, b"", &mut meta);
        protobuf::put_bytes(2, version.to_string().as_bytes(), &mut meta);
        protobuf::put_bytes(3, b"", &mut meta);
        let len = protobuf::field_len(1, meta.len()) as u64 + items;
        let mut head = Vec::new();
        // The length of the list, on 32-bit machines too, where a list of that length could not be held.
        protobuf::wrap_head(api_version, &format!("{kind}List"), len, &mut head);
        protobuf::put_bytes(1, &meta, &mut head);
        Self { head }
    }

    /// Appends all before the first item.
    pub fn start(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
    }

    /// Appends an item.
    pub fn item(&self, item: &[u8], out: &mut Vec<u8>) {
        protobuf::put_bytes(ITEMS, item, out);
    }

    /// Appends all behind the last item.
    pub fn finish(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&protobuf::WRAP_TAIL);
    }
}

/// How much an item of `len` bytes takes in a list.
pub fn item_len(len: usize) -> u64 {
    protobuf::field_len(ITEMS, len) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::encoding::Encoding;
    use crate::wire::list::OBJECT_LIMIT;
    use crate::wire::list::testing;

    macro_rules! golden {
        ($($name:literal),*) => {
            [$(($name, include_bytes!(concat!("../../../tests/golden/", $name, "_protobuf.body")) as &[u8])),*]
        };
    }

    const LISTS: [(&str, &[u8]); 13] = golden!(
        "list_configmaps_half",
        "list_csidrivers_empty",
        "list_csinodes",
        "list_endpointslices",
        "list_exact_expired",
        "list_leases",
        "list_namespaces",
        "list_nodes",
        "list_pods",
        "list_pods_partial",
        "list_runtimeclasses",
        "list_secrets",
        "list_services"
    );

    struct Decoded {
        items: Vec<Vec<u8>>,
        again: Vec<u8>,
        meta: ListMeta,
    }

    fn decode(pieces: &[&[u8]], limit: usize) -> Result<Decoded, Error> {
        let mut decoder = ListDecoder::new(limit);
        let (mut items, mut again) = (Vec::new(), Vec::new());
        for piece in pieces {
            decoder.push(piece)?;
            while let Some(part) = decoder.part()? {
                match part {
                    Part::Prefix(bytes) | Part::Suffix(bytes) => again.extend_from_slice(bytes),
                    Part::Item(item) => {
                        item_head(item.len(), &mut again);
                        again.extend_from_slice(item);
                        items.push(item.to_vec());
                    }
                }
            }
        }
        let meta = decoder.finish()?;
        Ok(Decoded { items, again, meta })
    }

    #[test]
    fn golden_lists_split_anywhere_are_the_same_list() {
        for (name, list) in LISTS {
            let whole = decode(&[list], OBJECT_LIMIT).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(whole.again, list, "{name}: parts make the list");
            assert!(
                whole.meta.kind.ends_with("List") && whole.meta.typed,
                "{name}"
            );
            let stride = if list.len() > 20_000 { 101 } else { 1 };
            for at in (0..list.len()).step_by(stride) {
                let split = decode(&[&list[..at], &list[at..]], OBJECT_LIMIT)
                    .unwrap_or_else(|e| panic!("{name} at {at}: {e}"));
                assert!(
                    split.again == list && split.items == whole.items,
                    "{name} at {at}"
                );
                assert_eq!(split.meta, whole.meta, "{name} at {at}");
            }
            let bytes: Vec<&[u8]> = list.chunks(1).collect();
            let each = decode(&bytes, OBJECT_LIMIT).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(
                each.again == list && each.items == whole.items,
                "{name} byte by byte"
            );
        }
    }

    #[test]
    fn a_list_that_is_cut_is_not_whole() {
        for (name, list) in LISTS {
            let stride = if list.len() > 20_000 { 101 } else { 1 };
            for at in (0..list.len()).step_by(stride) {
                // Without its last, empty field it is a list too: protobuf leaves out what is empty.
                let whole = decode(&[&list[..at]], OBJECT_LIMIT).is_ok();
                assert_eq!(whole, [2, 4].contains(&(list.len() - at)), "{name} at {at}");
            }
        }
    }

    #[test]
    fn golden_lists_are_put_together_from_their_items() {
        for (name, list) in LISTS {
            let whole = decode(&[list], OBJECT_LIMIT).unwrap_or_else(|e| panic!("{name}: {e}"));
            let (Some(kind), Some(version)) = (
                whole.meta.kind.strip_suffix("List"),
                whole.meta.resource_version,
            ) else {
                panic!("{name}: {:?}", whole.meta);
            };
            let size = whole.items.iter().map(|item| item_len(item.len())).sum();
            let encoder = ListEncoder::new(kind, &whole.meta.api_version, version, size);
            let mut again = Vec::new();
            encoder.start(&mut again);
            for item in &whole.items {
                encoder.item(item, &mut again);
            }
            encoder.finish(&mut again);
            assert_eq!(again, list, "{name}");
        }
    }

    #[test]
    fn an_item_that_is_kept_back_leaves_a_list_of_the_same_length() {
        let list = LISTS[8].1;
        let whole = decode(&[list], OBJECT_LIMIT).expect("a list");
        assert!(whole.items.len() > 3);
        for hidden in 0..whole.items.len() {
            let mut decoder = ListDecoder::new(OBJECT_LIMIT);
            decoder.push(list).expect("a list");
            let (mut out, mut at) = (Vec::new(), 0);
            while let Some(part) = decoder.part().expect("a list") {
                match part {
                    Part::Prefix(bytes) | Part::Suffix(bytes) => out.extend_from_slice(bytes),
                    Part::Item(item) if at == hidden => {
                        skipped(item.len(), &mut out);
                        at += 1;
                    }
                    Part::Item(item) => {
                        item_head(item.len(), &mut out);
                        out.extend_from_slice(item);
                        at += 1;
                    }
                }
            }
            assert_eq!(out.len(), list.len());
            let seen = decode(&[&out], OBJECT_LIMIT).expect("still a list");
            let mut left = whole.items.clone();
            left.remove(hidden);
            assert_eq!(seen.items, left);
            assert_eq!(seen.meta, whole.meta);
        }
    }

    #[test]
    fn the_count_of_what_is_left_is_skipped() {
        let mut meta = Vec::new();
        protobuf::put_bytes(2, b"7", &mut meta);
        protobuf::put_number(4, 300, &mut meta);
        let mut list = Vec::new();
        protobuf::put_bytes(1, &meta, &mut list);
        let mut bytes = Vec::new();
        protobuf::wrap("v1", "PodList", &list, &mut bytes);
        let taken = without_count(&bytes);
        assert_eq!(taken.len(), bytes.len());
        let raw = protobuf::open(&taken).expect("a list").raw;
        assert_eq!(protobuf::find(raw, &[1, 4]), Ok(None));
        assert_eq!(protobuf::find(raw, &[1, 2]), Ok(Some(Value::Bytes(b"7"))));
        for (name, list) in LISTS {
            assert_eq!(without_count(list), list, "{name} has no count");
        }
        for end in 0..bytes.len() {
            assert_eq!(without_count(&bytes[..end]).len(), end);
        }
    }

    #[test]
    fn a_list_is_the_same_whatever_was_guessed() {
        let longer = |item: &[u8]| [item, &b"more"[..]].concat();
        testing::same_whatever_was_guessed(Encoding::Protobuf, &LISTS, longer);
    }

    #[test]
    fn what_is_no_list_or_too_large_is_refused() {
        let list = LISTS[3].1;
        assert_eq!(
            decode(&[list], 100).err(),
            Some(Error::TooLarge { limit: 100 })
        );
        let mut huge = MAGIC.to_vec();
        protobuf::put_bytes(1, b"", &mut huge);
        // A list of 2^60 bytes may come; an item of that length may not.
        huge.extend_from_slice(&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]);
        assert_eq!(decode(&[&huge], OBJECT_LIMIT).err(), Some(Error::Truncated));
        huge.extend_from_slice(&[0x12, 0xff, 0xff, 0xff, 0xff, 0x0f]);
        let limit = OBJECT_LIMIT;
        assert_eq!(
            decode(&[&huge], OBJECT_LIMIT).err(),
            Some(Error::TooLarge { limit })
        );
        for bad in [
            &b"{\"kind\":\"PodList\"}"[..],
            b"k8s\0\x12\x00\x12\x00",     // two lists
            b"k8s\0\x12\x01\x12\x04aaaa", // an item past the list's end
            b"k8s\0\x1a\x01z\x12\x00",    // packed
            b"k8s\0\x12\x03\x12\x80\x00", // not the shortest length
        ] {
            let refused = decode(&[bad], OBJECT_LIMIT).err();
            assert!(
                matches!(refused, Some(Error::Malformed { .. })),
                "{bad:x?}: {refused:?}"
            );
        }
        assert_eq!(
            decode(&[b"k8s\0"], OBJECT_LIMIT).err(),
            Some(Error::Truncated)
        );
        assert_eq!(decode(&[], OBJECT_LIMIT).err(), Some(Error::Truncated));
    }
}
