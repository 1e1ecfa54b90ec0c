//! Lists in JSON: taken apart item by item as they come, and put together from items.
//!
//! The API server writes lists compactly and in two forms (kubernetes-wire 2.1). A typed list has its envelope in front,
//! `{"kind":"PodList","apiVersion":"v1","metadata":{…},"items":[…]}`, and items without `kind` and `apiVersion`. A list of
//! custom resources has its keys sorted, so that its version comes behind the items, which describe themselves.

use std::borrow::Cow;

use crate::k8s::object::ResourceVersion;
use crate::wire::buffer::drop_front;
use crate::wire::error::Error;
use crate::wire::json;
use crate::wire::json::Mark;
use crate::wire::json::Scanner;
use crate::wire::json::Skip;
use crate::wire::list::ENVELOPE_LIMIT;
use crate::wire::list::ListMeta;
use crate::wire::list::Part;

/// Takes a list apart; keeps one item and the envelope at the most.
pub struct ListDecoder {
    scanner: Scanner,
    buffer: Vec<u8>,
    /// Scanned up to here; what is before `done` has been handed out.
    at: usize,
    done: usize,
    limit: usize,
    place: Place,
    /// The open key and value of the envelope.
    key: Vec<u8>,
    begun: usize,
    seen_items: bool,
    ended: bool,
    meta: ListMeta,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Envelope,
    Items,
    /// An item stands between these marks of the buffer.
    Item,
}

impl ListDecoder {
    /// A decoder that takes items of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            scanner: Scanner::new(2),
            buffer: Vec::new(),
            at: 0,
            done: 0,
            limit,
            place: Place::Envelope,
            key: Vec::new(),
            begun: 0,
            seen_items: false,
            ended: false,
            meta: ListMeta::default(),
        }
    }

    /// Takes the next bytes. What they make is then told by [`part`](Self::part).
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), Error> {
        drop_front(&mut self.buffer, self.done);
        self.at -= self.done;
        self.begun = self.begun.saturating_sub(self.done);
        self.done = 0;
        let limit = if self.place == Place::Item {
            self.limit
        } else {
            ENVELOPE_LIMIT
        };
        // What is kept from before is one unfinished thing.
        if self.buffer.len() > limit {
            return Err(Error::TooLarge { limit });
        }
        self.buffer.extend_from_slice(chunk);
        Ok(())
    }

    /// What the envelope has said so far: of a typed list all of it is known at the first item.
    pub fn meta(&self) -> &ListMeta {
        &self.meta
    }

    /// The next part, `None` when more bytes are needed.
    pub fn part(&mut self) -> Result<Option<Part<'_>>, Error> {
        while let Some(mark) = self.scanner.next(&self.buffer, &mut self.at)? {
            match (self.place, mark) {
                (Place::Envelope, Mark::Begins(here, 0))
                    if self.buffer.get(here) != Some(&b'{') =>
                {
                    return Err(Error::malformed("not a list: not a JSON object"));
                }
                (Place::Envelope, Mark::KeyBegins(here, 1)) => self.begun = here,
                (Place::Envelope, Mark::KeyEnds(after, 1)) => {
                    self.key.clear();
                    self.key
                        .extend_from_slice(&self.buffer[self.begun + 1..after - 1]);
                }
                (Place::Envelope, Mark::Begins(here, 1)) => {
                    self.begun = here;
                    // A Table has rows where a list has items.
                    if matches!(self.key.as_slice(), b"items" | b"rows") {
                        if std::mem::replace(&mut self.seen_items, true) {
                            return Err(Error::malformed("a list with two lists of items"));
                        }
                        if self.buffer.get(here) == Some(&b'[') {
                            self.place = Place::Items;
                            return Ok(Some(Part::Prefix(self.envelope(here + 1)?)));
                        }
                    }
                }
                (Place::Envelope, Mark::Ends(after, 1)) => self.member(after)?,
                (Place::Envelope, Mark::Ends(after, 0)) => {
                    self.ended = true;
                    return Ok(Some(Part::Suffix(self.envelope(after)?)));
                }
                (Place::Items, Mark::Begins(here, 2)) => {
                    // Commas and blanks between items are not handed out.
                    self.done = here;
                    self.place = Place::Item;
                }
                (Place::Item, Mark::Ends(after, 2)) => {
                    self.place = Place::Items;
                    if after - self.done > self.limit {
                        return Err(Error::TooLarge { limit: self.limit });
                    }
                    return Ok(Some(Part::Item(self.hand_out(after))));
                }
                (Place::Items, Mark::Ends(after, 1)) => {
                    self.done = after - 1;
                    self.place = Place::Envelope;
                }
                _ => {}
            }
        }
        // The newline behind the end, and whatever blanks there are.
        if self.ended && self.done < self.at {
            return Ok(Some(Part::Suffix(self.hand_out(self.at))));
        }
        if self.place == Place::Items {
            self.done = self.at;
        }
        Ok(None)
    }

    /// Whether an item may come next.
    pub fn is_between_items(&self) -> bool {
        self.place == Place::Items
    }

    /// Passes over the next item if it is `item`, byte for byte: it is then not told by [`part`](Self::part), which would
    /// have told just that. `item` must be one whole JSON object, such as was told before. When it is
    /// [open](Skip::Open), more bytes are needed; anything else is left for `part`.
    pub fn pass(&mut self, item: &[u8]) -> Skip {
        let whole = item.starts_with(b"{") && item.ends_with(b"}") && item.len() <= self.limit;
        if !whole || self.place != Place::Items {
            return Skip::Other;
        }
        match self.scanner.skip(&self.buffer, &mut self.at, item) {
            // What is kept between items is bounded; a longer one is scanned as it comes.
            Skip::Open if item.len() >= ENVELOPE_LIMIT => Skip::Other,
            Skip::Whole => {
                self.done = self.at;
                Skip::Whole
            }
            skip => skip,
        }
    }

    /// A part of the envelope; it may have come in one piece with what follows it.
    fn envelope(&mut self, end: usize) -> Result<&[u8], Error> {
        if end - self.done > ENVELOPE_LIMIT {
            return Err(Error::TooLarge {
                limit: ENVELOPE_LIMIT,
            });
        }
        Ok(self.hand_out(end))
    }

    fn hand_out(&mut self, end: usize) -> &[u8] {
        let start = std::mem::replace(&mut self.done, end);
        &self.buffer[start..end]
    }

    fn member(&mut self, after: usize) -> Result<(), Error> {
        let value = &self.buffer[self.begun..after];
        let text = |value| json::text(value).map(|text| text.into_owned());
        match self.key.as_slice() {
            b"kind" => {
                self.meta.kind = text(value).unwrap_or_default();
                self.meta.typed = !self.seen_items;
            }
            b"apiVersion" => self.meta.api_version = text(value).unwrap_or_default(),
            b"metadata" => {
                for pair in json::members(value) {
                    match pair? {
                        (b"resourceVersion", value) => {
                            self.meta.resource_version =
                                text(value).and_then(|text| ResourceVersion::parse(&text));
                        }
                        (b"continue", value) => {
                            self.meta.continue_token = text(value).unwrap_or_default()
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// What the envelope says, once the list has ended; an error if it has not, or was none.
    pub fn finish(self) -> Result<ListMeta, Error> {
        if !self.ended {
            return Err(Error::Truncated);
        }
        if !self.seen_items {
            return Err(Error::malformed("not a list: it has no items"));
        }
        Ok(self.meta)
    }
}

/// A list's prefix or suffix without `remainingItemCount`: who drops items does not know how many are left.
///
/// The text can't stand anywhere else: within a string its quotes would be escaped, and a member's name has a comma or a
/// brace before it.
pub fn without_count(envelope: &[u8]) -> Cow<'_, [u8]> {
    const NAME: &[u8] = b"\"remainingItemCount\"";
    let blank = |byte: &u8| byte.is_ascii_whitespace();
    let whole = || {
        let at = envelope.windows(NAME.len()).position(|part| part == NAME)?;
        let before = envelope[..at].trim_ascii_end();
        let rest = envelope.get(at + NAME.len()..)?;
        let value = rest
            .trim_ascii_start()
            .strip_prefix(b":")?
            .trim_ascii_start();
        let digits = value
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let mut behind = value.get(digits..)?;
        let before = match before.strip_suffix(b",") {
            Some(before) => before,
            None => {
                behind = behind
                    .iter()
                    .position(|byte| !blank(byte))
                    .and_then(|at| behind.get(at..))
                    .map(|rest| rest.strip_prefix(b",").unwrap_or(rest))?;
                before
            }
        };
        Some([before, behind].concat())
    };
    whole().map_or(Cow::Borrowed(envelope), Cow::Owned)
}

/// Puts a list together from items, in the form in which the API server writes that kind.
pub struct ListEncoder {
    kind: String,
    api_version: String,
    typed: bool,
    version: ResourceVersion,
    items: usize,
}

impl ListEncoder {
    /// A list of objects of `kind` and `api_version` at `version`; `typed`: of a built-in kind.
    pub fn new(kind: &str, api_version: &str, typed: bool, version: ResourceVersion) -> Self {
        Self {
            kind: kind.to_owned(),
            api_version: api_version.to_owned(),
            typed,
            version,
            items: 0,
        }
    }

    /// Appends all before the first item.
    pub fn start(&self, out: &mut Vec<u8>) {
        let Self {
            kind,
            api_version,
            version,
            ..
        } = self;
        let head = if self.typed {
            format!(
                r#"{{"kind":"{kind}List","apiVersion":"{api_version}","metadata":{{"resourceVersion":"{version}"}},"items":["#
            )
        } else {
            format!(r#"{{"apiVersion":"{api_version}","items":["#)
        };
        out.extend_from_slice(head.as_bytes());
    }

    /// Appends an item.
    pub fn item(&mut self, item: &[u8], out: &mut Vec<u8>) {
        if self.items > 0 {
            out.push(b',');
        }
        self.items += 1;
        out.extend_from_slice(item);
    }

    /// Appends all behind the last item.
    pub fn finish(&self, out: &mut Vec<u8>) {
        let Self { kind, version, .. } = self;
        let tail = if self.typed {
            "]}\n".to_owned()
        } else {
            format!(
                "],\"kind\":\"{kind}List\",\"metadata\":{{\"continue\":\"\",\"resourceVersion\":\"{version}\"}}}}\n"
            )
        };
        out.extend_from_slice(tail.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::encoding::Encoding;
    use crate::wire::list::OBJECT_LIMIT;
    use crate::wire::list::testing;
    use crate::wire::list::testing::guessing;

    #[test]
    fn the_count_of_what_is_left_is_taken_out_wherever_it_stands() {
        for (from, to) in [
            (
                r#"{"metadata":{"continue":"A","remainingItemCount":4},"items":["#,
                r#"{"metadata":{"continue":"A"},"items":["#,
            ),
            (
                r#"],"metadata":{"remainingItemCount": 12 , "resourceVersion":"1"}}"#,
                r#"],"metadata":{ "resourceVersion":"1"}}"#,
            ),
            (
                r#"{"metadata":{"remainingItemCount":1}}"#,
                r#"{"metadata":{}}"#,
            ),
            (
                r#"{"metadata":{"continue":"remainingItemCount"}}"#,
                r#"{"metadata":{"continue":"remainingItemCount"}}"#,
            ),
            (
                r#"{"a":"\"remainingItemCount\""}"#,
                r#"{"a":"\"remainingItemCount\""}"#,
            ),
        ] {
            let taken = without_count(from.as_bytes());
            assert_eq!(String::from_utf8_lossy(&taken), to);
        }
    }

    macro_rules! golden {
        ($($name:literal),*) => {
            [$(($name, include_bytes!(concat!("../../../tests/golden/", $name, ".body")) as &[u8])),*]
        };
    }

    const LISTS: [(&str, &[u8]); 9] = golden!(
        "list_pods_json",
        "list_services_json",
        "list_endpointslices_json",
        "list_nodes_json",
        "list_csidrivers_empty_json",
        "list_cameras_json",
        "list_nodepools_json",
        "list_pods_page1",
        "list_configmaps_half_json"
    );

    struct Decoded {
        items: Vec<Vec<u8>>,
        again: Vec<u8>,
        meta: ListMeta,
    }

    fn decode(pieces: &[&[u8]]) -> Result<Decoded, Error> {
        let mut decoder = ListDecoder::new(OBJECT_LIMIT);
        let (mut items, mut again) = (Vec::new(), Vec::new());
        for piece in pieces {
            decoder.push(piece)?;
            while let Some(part) = decoder.part()? {
                match part {
                    Part::Prefix(bytes) | Part::Suffix(bytes) => again.extend_from_slice(bytes),
                    Part::Item(item) => {
                        if !items.is_empty() {
                            again.push(b',');
                        }
                        again.extend_from_slice(item);
                        items.push(item.to_vec());
                    }
                }
            }
        }
        Ok(Decoded {
            items,
            again,
            meta: decoder.finish()?,
        })
    }

    #[test]
    fn golden_lists_split_anywhere_are_the_same_list() {
        for (name, list) in LISTS {
            let whole = decode(&[list]).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(whole.again, list, "{name}: parts make the list");
            let value: serde_json::Value = serde_json::from_slice(list).expect(name);
            assert_eq!(
                whole.items.len(),
                value["items"].as_array().map_or(0, Vec::len),
                "{name}"
            );
            assert_eq!(whole.meta.kind, value["kind"], "{name}");
            assert_eq!(
                whole
                    .meta
                    .resource_version
                    .map(|v| v.to_string())
                    .as_deref(),
                value["metadata"]["resourceVersion"].as_str()
            );
            // Every split of the larger ones would be quadratic work: their ends, where the structure is, and a stride.
            let stride = if list.len() > 20_000 { 97 } else { 1 };
            let ends = (0..300).chain(list.len() - 300.min(list.len())..list.len());
            for at in (0..list.len())
                .step_by(stride)
                .chain(ends)
                .filter(|at| *at < list.len())
            {
                let split = decode(&[&list[..at], &list[at..]])
                    .unwrap_or_else(|error| panic!("{name} at {at}: {error}"));
                assert!(
                    split.again == whole.again
                        && split.items == whole.items
                        && split.meta == whole.meta,
                    "{name} at {at}"
                );
            }
            let bytes: Vec<&[u8]> = list.chunks(1).collect();
            assert_eq!(
                decode(&bytes).expect(name).again,
                list,
                "{name} byte by byte"
            );
        }
    }

    #[test]
    fn a_list_is_the_same_whatever_was_guessed() {
        // They go on where the objects end.
        let longer = |item: &[u8]| [&item[..item.len() - 1], b",\"a\":{}}"].concat();
        testing::same_whatever_was_guessed(Encoding::Json, &LISTS, longer);
    }

    #[test]
    fn guesses_are_kept_within_the_bounds_and_must_be_whole_objects() {
        let item = format!("{{\"a\":\"{}\"}}", "x".repeat(ENVELOPE_LIMIT));
        let text = format!("{{\"items\":[{item},12,{{}} ,{{}}]}}");
        let pieces: Vec<&[u8]> = text.as_bytes().chunks(1000).collect();
        let guesses = [item.as_str(), "1", "{}", "{}"].map(|text| text.as_bytes().to_vec());
        let slow = guessing(Encoding::Json, &[text.as_bytes()], &[], OBJECT_LIMIT);
        for pieces in [&[text.as_bytes()][..], &pieces] {
            let (items, _, meta, _) = guessing(Encoding::Json, pieces, &guesses, OBJECT_LIMIT);
            assert_eq!((items, meta), (slow.0.clone(), slow.2.clone()));
            let limit = ENVELOPE_LIMIT;
            let (_, _, meta, passed) = guessing(Encoding::Json, pieces, &guesses, limit);
            assert_eq!((meta, passed), (Err(Error::TooLarge { limit }), 0));
        }
    }

    #[test]
    fn a_list_that_is_cut_anywhere_is_never_whole() {
        for (name, list) in LISTS {
            let end = list.len() - 1; // the newline
            let stride = if list.len() > 20_000 { 101 } else { 1 };
            for at in (0..end).step_by(stride).chain(end.saturating_sub(200)..end) {
                assert_eq!(
                    decode(&[&list[..at]]).err(),
                    Some(Error::Truncated),
                    "{name} at {at}"
                );
            }
        }
    }

    #[test]
    fn the_encoder_writes_what_the_server_writes() {
        for (name, list) in LISTS.iter().filter(|(name, _)| *name != "list_pods_page1") {
            let Decoded { items, meta, .. } = decode(&[list]).expect(name);
            let typed = list.starts_with(b"{\"kind\"");
            let kind = meta.kind.strip_suffix("List").expect("a list");
            let mut encoder = ListEncoder::new(
                kind,
                &meta.api_version,
                typed,
                meta.resource_version.expect("a version"),
            );
            let mut out = Vec::new();
            encoder.start(&mut out);
            for item in &items {
                encoder.item(item, &mut out);
            }
            encoder.finish(&mut out);
            assert_eq!(out, *list, "{name}");
        }
    }

    #[test]
    fn pages_say_so_at_the_first_item() {
        let (_, page) = LISTS[7];
        let mut decoder = ListDecoder::new(OBJECT_LIMIT);
        decoder
            .push(&page[..page.len() / 2])
            .expect("within limits");
        while !matches!(decoder.part().expect("it is JSON"), Some(Part::Item(_))) {}
        assert!(!decoder.meta().continue_token.is_empty());
    }

    #[test]
    fn indented_and_null_lists_are_lists_and_other_things_are_none() {
        let indented =
            b"{\n  \"items\": [\n    {\"a\": 1},\n    {\"b\": 2}\n  ],\n  \"kind\": \"XList\"\n}\n";
        let decoded = decode(&[indented]).expect("a list");
        assert_eq!(decoded.items, [b"{\"a\": 1}", b"{\"b\": 2}"]);
        assert_eq!(decoded.meta.kind, "XList");
        assert!(
            decode(&[b"{\"kind\":\"XList\",\"items\":null}"])
                .expect("a list")
                .items
                .is_empty()
        );
        for other in [
            "{\"kind\":\"Status\"}",
            "[1]",
            "{\"items\":[],\"items\":[]}",
            "{\"items\":[]} x",
        ] {
            assert!(decode(&[other.as_bytes()]).is_err(), "{other}");
        }
    }

    #[test]
    fn a_tables_rows_are_its_items() {
        let table: &[u8] = include_bytes!("../../../tests/golden/list_pods_table.body");
        let decoded = decode(&[table]).expect("a table");
        let value: serde_json::Value = serde_json::from_slice(table).expect("JSON");
        assert_eq!(
            decoded.items.len(),
            value["rows"].as_array().map_or(0, Vec::len)
        );
        assert_eq!(decoded.again, table);
        for at in (0..table.len()).step_by(89) {
            assert_eq!(
                decode(&[&table[..at], &table[at..]])
                    .expect("a table")
                    .again,
                table,
                "at {at}"
            );
        }
    }

    #[test]
    fn size_is_bounded_however_it_comes() {
        let item = format!("{{\"items\":[\"{}\"]}}", "x".repeat(1000));
        for size in [1, 7, 300, 4000] {
            let mut decoder = ListDecoder::new(500);
            let mut result = Ok(());
            for piece in item.as_bytes().chunks(size) {
                result = decoder.push(piece);
                while result.is_ok() {
                    match decoder.part() {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(error) => result = Err(error),
                    }
                }
                if result.is_err() {
                    break;
                }
            }
            assert_eq!(
                result,
                Err(Error::TooLarge { limit: 500 }),
                "in pieces of {size}"
            );
        }
        let envelope = format!(
            "{{\"metadata\":{{\"continue\":\"{}\"",
            "x".repeat(ENVELOPE_LIMIT + 1000)
        );
        let pieces: Vec<&[u8]> = envelope.as_bytes().chunks(900).collect();
        assert_eq!(
            decode(&pieces).err(),
            Some(Error::TooLarge {
                limit: ENVELOPE_LIMIT
            })
        );
    }

    #[test]
    fn the_envelope_is_bounded_in_one_piece_too_and_blanks_between_items_are_not_kept() {
        let x = "x".repeat(ENVELOPE_LIMIT);
        for text in [
            format!("{{\"a\":\"{x}\",\"items\":[]}}"),
            format!("{{\"items\":[],\"a\":\"{x}\"}}"),
        ] {
            let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            for pieces in [&bytes[..], &[text.as_bytes()]] {
                let limit = ENVELOPE_LIMIT;
                assert_eq!(decode(pieces).err(), Some(Error::TooLarge { limit }));
            }
        }
        let blank = " ".repeat(3 * ENVELOPE_LIMIT);
        let text = format!("{{\"items\":[1,{blank}2{blank}]}}");
        for size in [100, text.len()] {
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            assert_eq!(decode(&pieces).expect("a list").items, [b"1", b"2"]);
        }
    }
}
