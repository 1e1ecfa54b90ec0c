//! The list decoder: the same items and envelope however it is fed, those that serde_json sees, within its bounds.

use serde_json::Value;
use toono::k8s::object::ResourceVersion;
use toono::wire::error::Error;
use toono::wire::json::Skip;
use toono::wire::json::list::ListDecoder;
use toono::wire::json::list::ListEncoder;
use toono::wire::list::ListMeta;
use toono::wire::list::OBJECT_LIMIT;
use toono::wire::list::Part;

use crate::fuzz::golden::golden;
use crate::fuzz::make;
use crate::fuzz::make::Digest;
use crate::fuzz::make::JSON_WORDS;
use crate::fuzz::make::below;
use crate::fuzz::make::one_in;
use crate::fuzz::make::pick;
use crate::fuzz::meter;
use crate::support::random::Random;

const NAMES: [&str; 9] = [
    "metadata",
    "resourceVersion",
    "continue",
    "kind",
    "apiVersion",
    "items",
    "rows",
    "a",
    "remainingItemCount",
];

/// The largest envelope, as the decoder states it.
const ENVELOPE: usize = 64 << 10;

/// A list.
pub(crate) fn make(random: &mut Random) -> Vec<u8> {
    let mut text = Vec::new();
    match random.below(10) {
        0 => return make::words(random, &JSON_WORDS, 20),
        1 if one_in(random, 100) => text.extend_from_slice(pick(random, &golden().lists)),
        2 if one_in(random, 400) => return large(random),
        3 => make::json(random, 5, &NAMES, &mut text),
        4..=6 => envelope(random, &mut text),
        _ => text.extend(pick(random, &golden().short_lists)),
    }
    if !one_in(random, 4) {
        make::mutate(random, &mut text, &JSON_WORDS);
    }
    text
}

/// An envelope of members in any order, with items among them.
fn envelope(random: &mut Random, out: &mut Vec<u8>) {
    out.push(b'{');
    for n in 0..below(random, 6) {
        if n > 0 {
            out.push(b',');
        }
        match random.below(6) {
            0 => out.extend_from_slice(b"\"kind\":\"PodList\""),
            1 => out.extend_from_slice(b"\"apiVersion\":\"v1\""),
            2 => {
                out.extend_from_slice(b"\"metadata\":");
                make::json(random, 2, &NAMES, out);
            }
            3 => {
                let version = random.below(1000);
                let metadata =
                    format!(r#""metadata":{{"resourceVersion":"{version}","continue":""}}"#);
                out.extend_from_slice(metadata.as_bytes());
            }
            _ => {
                out.extend_from_slice(pick(random, &[b"\"items\":[".as_slice(), b"\"rows\" : [ "]));
                for n in 0..below(random, 4) {
                    if n > 0 {
                        out.push(b',');
                    }
                    make::json(random, 3, &NAMES, out);
                }
                out.push(b']');
            }
        }
    }
    out.push(b'}');
}

/// A part of it is larger than what is taken.
fn large(random: &mut Random) -> Vec<u8> {
    let size = ENVELOPE / 2 + below(random, 10 * ENVELOPE);
    let x = "x".repeat(size);
    let text = match random.below(7) {
        0 => format!(r#"{{"metadata":{{"continue":"{x}"}},"items":[]}}"#),
        1 => format!(r#"{{"items":[1,{}2]}}"#, " ".repeat(size)),
        2 => format!(r#"{{"items":["{x}",{{}}]}}"#),
        3 => format!(r#"{{"{x}":1,"items":[]}}"#),
        4 => format!(r#"{{"items":[],"a":"{x}"}}"#),
        5 => format!(r#"{{"items":[]}}{}"#, "\n".repeat(size)),
        _ => format!(
            r#"{}{{"items":[{}]}}"#,
            " ".repeat(size / 8),
            "7".repeat(size)
        ),
    };
    text.into_bytes()
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Decoded {
    items: u64,
    digest: Digest,
    /// Of all that is not an item.
    around: Digest,
    /// Whether the decoder handed out all that came, but for commas and blanks between items.
    bytes: usize,
}

fn decode(pieces: &[&[u8]], limit: usize) -> (Decoded, Result<ListMeta, Error>) {
    let mut decoder = ListDecoder::new(limit);
    let mut decoded = Decoded::default();
    let end = feed(&mut decoder, &mut decoded, pieces);
    (decoded, end.and_then(|()| decoder.finish()))
}

fn feed(decoder: &mut ListDecoder, decoded: &mut Decoded, pieces: &[&[u8]]) -> Result<(), Error> {
    for piece in pieces {
        decoder.push(piece)?;
        let mut calls = 0;
        while let Some(part) = decoder.part()? {
            calls += 1;
            assert!(calls <= piece.len() + 2, "it comes to an end");
            match part {
                Part::Prefix(bytes) | Part::Suffix(bytes) => {
                    decoded.around.add(bytes);
                    decoded.bytes += bytes.len();
                }
                Part::Item(bytes) => {
                    assert!(!bytes.is_empty());
                    decoded.items += 1;
                    decoded.digest.item(bytes);
                    decoded.bytes += bytes.len();
                }
            }
        }
    }
    Ok(())
}

/// Whole, in pieces, and by serde_json.
pub(crate) fn check(random: &mut Random, input: &[u8]) {
    let limit = pick(random, &[16, 500, 4096, OBJECT_LIMIT, OBJECT_LIMIT]);
    let (whole, meta) = decode(&[input], limit);
    assert!(whole.bytes <= input.len());
    let pieces = make::split(random, input);
    let largest = pieces.iter().map(|piece| piece.len()).max().unwrap_or(0);
    // What is kept is one item or the envelope, and the last piece; the buffer of a growing vector is twice that, and
    // while it moves there are two. What the envelope says is kept apart.
    let bound = 3 * (limit.max(ENVELOPE).min(input.len()) + largest) + 4 * ENVELOPE;
    let (split, meta_of_split) = meter::within(bound, || decode(&pieces, limit));
    let how = format!("in {} pieces, limit {limit}", pieces.len());
    assert_eq!(
        (whole.items, whole.digest),
        (split.items, split.digest),
        "{how}"
    );
    match (&meta, &meta_of_split) {
        (Err(whole), Err(split)) => {
            // In pieces it is too large before the rest of it is seen to be wrong.
            let larger = matches!(split, Error::TooLarge { .. });
            assert!(whole == split || larger, "{whole:?}, {split:?} {how}");
        }
        _ => {
            assert_eq!(meta, meta_of_split, "{how}");
            assert_eq!(whole.around, split.around, "{how}");
        }
    }
    guessed(random, input, &pieces, limit, &split, &meta_of_split);
    if let Ok(meta) = meta {
        by_serde(input, &whole, &meta);
    }
}

/// The items of a list that is nearly the same are guesses; what comes of it is what comes without.
fn guessed(
    random: &mut Random,
    input: &[u8],
    pieces: &[&[u8]],
    limit: usize,
    slow: &Decoded,
    end: &Result<ListMeta, Error>,
) {
    let mut near = input.to_vec();
    if !one_in(random, 3) {
        make::mutate(random, &mut near, &JSON_WORDS);
    }
    let mut guesses = Vec::new();
    let mut decoder = ListDecoder::new(OBJECT_LIMIT);
    if decoder.push(&near).is_ok() {
        while let Ok(Some(part)) = decoder.part() {
            match part {
                Part::Item(item) if item.starts_with(b"{") => guesses.push(item.to_vec()),
                Part::Item(_) | Part::Prefix(_) | Part::Suffix(_) => {}
            }
        }
    }
    let mut guesses = guesses.iter().peekable();
    let mut decoder = ListDecoder::new(limit);
    let mut decoded = Decoded::default();
    let mut feed = |decoder: &mut ListDecoder| {
        for piece in pieces {
            decoder.push(piece)?;
            loop {
                if decoder.is_between_items()
                    && let Some(guess) = guesses.peek()
                {
                    match decoder.pass(guess) {
                        Skip::Whole => {
                            decoded.items += 1;
                            decoded.digest.item(guess);
                            decoded.bytes += guess.len();
                            guesses.next();
                            continue;
                        }
                        Skip::Open => break,
                        Skip::Other => {}
                    }
                }
                match decoder.part()? {
                    None => break,
                    Some(Part::Prefix(bytes) | Part::Suffix(bytes)) => {
                        decoded.around.add(bytes);
                        decoded.bytes += bytes.len();
                    }
                    Some(Part::Item(bytes)) => {
                        guesses.next();
                        decoded.items += 1;
                        decoded.digest.item(bytes);
                        decoded.bytes += bytes.len();
                    }
                }
            }
        }
        Ok(())
    };
    let ended = feed(&mut decoder).and_then(|()| decoder.finish());
    let larger = |end: &Result<ListMeta, Error>| matches!(end, Err(Error::TooLarge { .. }));
    if larger(&ended) && larger(end) {
        return;
    }
    assert_eq!(&ended, end, "with guesses");
    assert_eq!(&decoded, slow, "with guesses");
}

fn by_serde(input: &[u8], decoded: &Decoded, meta: &ListMeta) {
    let Ok(value) = serde_json::from_slice::<Value>(input) else {
        // What serde_json does not take into a tree: not UTF-8, a lone surrogate, numbers out of range, 128 levels.
        let ignored = serde_json::from_slice::<serde::de::IgnoredAny>(input);
        assert!(ignored.is_ok(), "a list is JSON: {ignored:?}");
        return;
    };
    // A key that is escaped or comes twice is read differently; no server writes one.
    if serde_json::to_vec(&value).ok().as_deref() != Some(input.trim_ascii_end()) {
        return;
    }
    let items = ["items", "rows"]
        .into_iter()
        .find_map(|name| value.get(name));
    let items = items.expect("a list has items").as_array();
    assert_eq!(decoded.items, items.map_or(0, Vec::len) as u64);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    assert_eq!(meta.kind, text(&value["kind"]));
    assert_eq!(meta.api_version, text(&value["apiVersion"]));
    let version = ResourceVersion::parse(&text(&value["metadata"]["resourceVersion"]));
    assert_eq!(meta.resource_version, version);
    assert_eq!(meta.continue_token, text(&value["metadata"]["continue"]));
    let mut digest = Digest::default();
    let mut encoder = ListEncoder::new("Pod", "v1", meta.typed, ResourceVersion(7));
    let mut again = Vec::new();
    encoder.start(&mut again);
    for item in items.into_iter().flatten() {
        let item = item.to_string();
        digest.item(item.as_bytes());
        encoder.item(item.as_bytes(), &mut again);
    }
    encoder.finish(&mut again);
    assert_eq!(digest, decoded.digest, "the items are those of the text");
    let (again, meta) = decode(&[&again], OBJECT_LIMIT);
    assert_eq!(
        (again.items, again.digest),
        (decoded.items, digest),
        "encoded again"
    );
    assert_eq!(
        meta.map(|meta| meta.resource_version),
        Ok(Some(ResourceVersion(7)))
    );
}
