//! The JSON scanner: the same marks however it is fed, and the verdict of serde_json.

use serde::de::IgnoredAny;
use toono::wire::error::Error;
use toono::wire::json;
use toono::wire::json::DEPTH_LIMIT;
use toono::wire::json::Mark;
use toono::wire::json::Scanner;

use crate::fuzz::golden::golden;
use crate::fuzz::make;
use crate::fuzz::make::Digest;
use crate::fuzz::make::JSON_WORDS;
use crate::fuzz::make::below;
use crate::fuzz::make::one_in;
use crate::fuzz::make::pick;
use crate::fuzz::meter;
use crate::support::random::Random;

const NAMES: [&str; 5] = ["a", "metadata", "name", "resourceVersion", "items"];

/// A document.
pub(crate) fn make(random: &mut Random) -> Vec<u8> {
    let mut text = Vec::new();
    match random.below(12) {
        0 => return make::bytes(random, 60),
        1 => return make::words(random, &JSON_WORDS, 20),
        2 => return make::letters(random, b"{}[]\",:0 1-.e+tn\\u", 24),
        3 if one_in(random, 200) => {
            // Around the limit of what is taken.
            let depth = DEPTH_LIMIT - 3 + below(random, 6);
            let (open, close) = if one_in(random, 2) {
                ("[", "]")
            } else {
                ("{\"a\":", "}")
            };
            text.extend_from_slice(open.repeat(depth).as_bytes());
            text.extend_from_slice(b"[1]");
            text.extend_from_slice(close.repeat(depth).as_bytes());
        }
        4 => text.extend(pick(random, &golden().objects)),
        5 if one_in(random, 300) => text.extend_from_slice(pick(random, &golden().lists)),
        _ => make::json(random, 5, &NAMES, &mut text),
    }
    if !one_in(random, 3) {
        make::mutate(random, &mut text, &JSON_WORDS);
    }
    text
}

struct Scanned {
    marks: u64,
    digest: Digest,
    error: Option<Error>,
}

fn scan(pieces: &[&[u8]], depth: usize) -> Scanned {
    let mut scanner = Scanner::new(depth);
    let (mut marks, mut digest) = (0, Digest::default());
    let mut before = 0;
    for piece in pieces {
        let mut at = 0;
        loop {
            let from = at;
            match scanner.next(piece, &mut at) {
                Ok(Some(mark)) => {
                    assert!(from <= at && at <= piece.len());
                    let (kind, place, depth) = match mark {
                        Mark::KeyBegins(at, depth) => (0, at, depth),
                        Mark::KeyEnds(at, depth) => (1, at, depth),
                        Mark::Begins(at, depth) => (2, at, depth),
                        Mark::Ends(at, depth) => (3, at, depth),
                    };
                    marks += 1;
                    for number in [kind, before + place, depth] {
                        digest.add(&(number as u64).to_le_bytes());
                    }
                    assert!(
                        marks <= 4 * (before + piece.len()) as u64,
                        "it comes to an end"
                    );
                }
                Ok(None) => break,
                Err(error) => {
                    return Scanned {
                        marks,
                        digest,
                        error: Some(error),
                    };
                }
            }
            assert!(at <= piece.len());
        }
        assert_eq!(at, piece.len(), "all was scanned");
        before += piece.len();
    }
    Scanned {
        marks,
        digest,
        error: (!scanner.is_outside()).then_some(Error::Truncated),
    }
}

/// Whole, in pieces, and by serde_json.
pub(crate) fn check(random: &mut Random, input: &[u8]) {
    let depth = below(random, 8);
    let whole = meter::within(4 * DEPTH_LIMIT, || scan(&[input], depth));
    let pieces = make::split(random, input);
    let split = meter::within(4 * DEPTH_LIMIT, || scan(&pieces, depth));
    assert_eq!(
        (whole.marks, whole.digest, &whole.error),
        (split.marks, split.digest, &split.error),
        "in {} pieces",
        pieces.len()
    );
    // A number at the top ends with what follows it.
    let ended = scan(&[input, b" "], 0);
    let ours = ended.error.is_none() && ended.marks > 0;
    let theirs = serde_json::from_slice::<IgnoredAny>(input).is_ok();
    let deep = ended.error == Some(Error::TooDeep);
    assert!(
        ours == theirs || deep,
        "ours {ours}, serde's {theirs}: {:?}",
        ended.error
    );
    members(input, ours);
}

fn members(input: &[u8], valid: bool) {
    let mut count = 0;
    let mut failed = false;
    for pair in json::members(input) {
        count += 1;
        assert!(count <= input.len() + 1, "it comes to an end");
        assert!(!failed, "nothing comes behind an error");
        let Ok((key, value)) = pair else {
            failed = true;
            continue;
        };
        assert!(!value.is_empty() && value.len() + key.len() + 2 <= input.len());
        assert_eq!(
            json::text(value).is_some(),
            text(value),
            "{:?}",
            value.escape_ascii().to_string()
        );
        if valid {
            let found = json::member(input, key)
                .expect("it is whole")
                .expect("it is there");
            assert!(!found.is_empty());
        }
    }
    if valid {
        assert_eq!(failed, !input.trim_ascii_start().starts_with(b"{"));
    }
    let _ = json::text(input);
}

/// Whether it is a string, by serde_json, which must then say the same.
fn text(value: &[u8]) -> bool {
    match serde_json::from_slice::<String>(value) {
        Ok(theirs) => {
            assert_eq!(json::text(value).as_deref(), Some(theirs.as_str()));
            true
        }
        Err(_) => false,
    }
}
