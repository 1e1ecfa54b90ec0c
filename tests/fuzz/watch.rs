//! The watch decoder: the same events however it is fed, those that serde_json sees, within its bound.

use serde_json::Deserializer;
use serde_json::Value;
use toono::k8s::encoding::Encoding;
use toono::k8s::object::ResourceVersion;
use toono::k8s::status::Status;
use toono::wire::error::Error;
use toono::wire::json::watch::WatchDecoder;
use toono::wire::list::OBJECT_LIMIT;
use toono::wire::watch;
use toono::wire::watch::EventType;

use crate::fuzz::golden::golden;
use crate::fuzz::make;
use crate::fuzz::make::Digest;
use crate::fuzz::make::JSON_WORDS;
use crate::fuzz::make::below;
use crate::fuzz::make::one_in;
use crate::fuzz::make::pick;
use crate::fuzz::meter;
use crate::support::random::Random;

const NAMES: [&str; 5] = ["metadata", "resourceVersion", "name", "type", "object"];
const TYPES: [&str; 6] = ["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR", "added"];

/// A stream.
pub(crate) fn make(random: &mut Random) -> Vec<u8> {
    let mut text = Vec::new();
    match random.below(8) {
        0 => return make::words(random, &JSON_WORDS, 20),
        1 if one_in(random, 100) => text.extend_from_slice(pick(random, &golden().streams)),
        2 if one_in(random, 400) => {
            let x = below(random, 300_000);
            let (x, blank) = ("x".repeat(x), "\n".repeat(below(random, 300_000)));
            return format!(
                r#"{{"type":"ADDED","object":"{x}"}}{blank}{{"type":"ADDED","object":1}}"#
            )
            .into_bytes();
        }
        3..=5 => {
            for _ in 0..below(random, 5) {
                let kind = pick(random, &TYPES);
                let swapped = one_in(random, 4);
                let mut object = Vec::new();
                make::json(random, 3, &NAMES, &mut object);
                if swapped {
                    text.extend_from_slice(b"{\"object\":");
                    text.extend_from_slice(&object);
                    text.extend_from_slice(format!(r#","type":"{kind}"}}"#).as_bytes());
                } else {
                    text.extend_from_slice(format!(r#"{{"type":"{kind}","object":"#).as_bytes());
                    text.extend_from_slice(&object);
                    text.push(b'}');
                }
                text.extend(make::letters(random, b"\n\n \r", 2));
            }
        }
        _ => text.extend(pick(random, &golden().short_streams)),
    }
    if !one_in(random, 4) {
        make::mutate(random, &mut text, &JSON_WORDS);
    }
    text
}

#[derive(Debug, PartialEq, Eq)]
struct Decoded {
    events: u64,
    digest: Digest,
    end: Result<(), Error>,
}

fn decode(pieces: &[&[u8]], limit: usize) -> Decoded {
    let mut decoder = WatchDecoder::new(limit);
    let (mut events, mut digest) = (0, Digest::default());
    let fed = feed(&mut decoder, pieces, |kind, object| {
        events += 1;
        digest.item(kind.as_str().as_bytes());
        digest.item(object);
    });
    let end = fed.and_then(|()| decoder.finish());
    Decoded {
        events,
        digest,
        end,
    }
}

fn feed(
    decoder: &mut WatchDecoder,
    pieces: &[&[u8]],
    mut take: impl FnMut(EventType, &[u8]),
) -> Result<(), Error> {
    for piece in pieces {
        decoder.push(piece)?;
        let mut calls = 0;
        while let Some(event) = decoder.event()? {
            calls += 1;
            assert!(calls <= piece.len(), "it comes to an end");
            take(event.kind, event.object);
        }
    }
    Ok(())
}

/// Whole, in pieces, and by serde_json.
pub(crate) fn check(random: &mut Random, input: &[u8]) {
    let limit = pick(random, &[40, 500, 4096, OBJECT_LIMIT, OBJECT_LIMIT]);
    let whole = decode(&[input], limit);
    let pieces = make::split(random, input);
    let largest = pieces.iter().map(|piece| piece.len()).max().unwrap_or(0);
    let bound = 3 * (limit.min(input.len()) + largest) + (64 << 10);
    let split = meter::within(bound, || decode(&pieces, limit));
    let how = format!("in {} pieces, limit {limit}", pieces.len());
    assert_eq!(
        (whole.events, whole.digest),
        (split.events, split.digest),
        "{how}"
    );
    match (&whole.end, &split.end) {
        // In pieces it is too large before the rest of it is seen to be wrong.
        (Err(_), Err(Error::TooLarge { .. })) => {}
        (whole, split) => assert_eq!(whole, split, "{how}"),
    }
    if whole.end.is_ok() {
        by_serde(input, &whole);
    }
}

fn by_serde(input: &[u8], decoded: &Decoded) {
    let values: Result<Vec<Value>, _> = Deserializer::from_slice(input).into_iter().collect();
    let Ok(values) = values else { return };
    assert_eq!(decoded.events, values.len() as u64);
    let (mut encoded, mut digest) = (Vec::new(), Digest::default());
    for value in &values {
        encoded.extend(value.to_string().into_bytes());
        encoded.push(b'\n');
        digest.item(value["type"].as_str().unwrap_or_default().as_bytes());
        digest.item(value["object"].to_string().as_bytes());
    }
    // As the server writes it: compact, no key twice.
    if encoded == input {
        assert_eq!(digest, decoded.digest);
    }
    // Encoded again it is the same events, one a line.
    let mut again = Vec::new();
    let mut decoder = WatchDecoder::new(OBJECT_LIMIT);
    feed(&mut decoder, &[input], |kind, object| {
        watch::encode(Encoding::Json, kind, object, &mut again)
    })
    .expect("as before");
    assert_eq!(
        again.split_inclusive(|byte| *byte == b'\n').count() as u64,
        decoded.events
    );
    let lines: Result<Vec<Value>, _> = Deserializer::from_slice(&again).into_iter().collect();
    let objects = |values: &[Value]| -> Vec<Value> {
        values.iter().map(|value| value["object"].clone()).collect()
    };
    assert_eq!(objects(&lines.expect("JSON")), objects(&values));
    let bookmark = watch::bookmark(
        Encoding::Json,
        "v1",
        "Pod",
        ResourceVersion(decoded.events),
        true,
    );
    let said = String::from_utf8_lossy(input.get(..input.len().min(9)).unwrap_or_default());
    let error = watch::error(Encoding::Json, &Status::bad_request(&said));
    assert_eq!(decode(&[&bookmark], 4096).events, 1);
    assert!(error.ends_with(b"}\n"));
}
