//! `Accept` fields: what is chosen is what an independent reading chooses, and what no API server makes changes nothing.

use toono::k8s::encoding::Encoding;
use toono::wire::media;
use toono::wire::media::Accept;

use crate::fuzz::make;
use crate::fuzz::make::below;
use crate::fuzz::make::one_in;
use crate::fuzz::make::pick;
use crate::fuzz::meter;
use crate::support::random::Random;

const TYPES: [&[u8]; 20] = [
    b"application/json",
    b"application/*",
    b"*/*",
    b"application/vnd.kubernetes.protobuf",
    b"application/yaml",
    b"application/cbor",
    b"text/html",
    b";as=Table",
    b";v=v1",
    b";g=meta.k8s.io",
    b";q=0.5",
    b";q=1",
    b";q=0",
    b";q=0.0001",
    b";q=",
    b";q=2",
    b",",
    b", ",
    b" ",
    b"\xc3\xa9",
];

/// Clauses, and whether plain JSON is among them, and whether the first choice is one that only the server makes.
fn structured(seed: u64) -> (String, (bool, bool)) {
    let random = &mut Random::seeded(seed);
    let mut clauses = Vec::new();
    let mut plain_json = false;
    // The weight of the best choice that a server makes, and whether it is a transformed one.
    let mut best = (0, false);
    for _ in 0..1 + below(random, 6) {
        let kind = pick(
            random,
            &[
                "application/json",
                "*/*",
                "application/vnd.kubernetes.protobuf",
                "application/yaml",
                "text/html",
                "",
            ],
        );
        let (transformed, weight) = (one_in(random, 3), below(random, 1001));
        let mut clause = if one_in(random, 9) {
            kind.to_ascii_uppercase()
        } else {
            kind.to_owned()
        };
        if transformed {
            clause.push_str(pick(
                random,
                &[
                    ";as=Table;v=v1;g=meta.k8s.io",
                    "; as=PartialObjectMetadata ",
                ],
            ));
        }
        let weight = match random.below(3) {
            0 => 1000,
            1 => weight / 100 * 100,
            _ => weight,
        };
        if weight < 1000 || one_in(random, 3) {
            clause.push_str(&format!(";q={}.{:03}", weight / 1000, weight % 1000));
        }
        clauses.push(clause);
        if weight == 0 || kind.is_empty() || kind == "text/html" {
            continue;
        }
        let server_made = transformed || kind == "application/yaml";
        plain_json |= !server_made && kind != "application/vnd.kubernetes.protobuf";
        if weight > best.0 {
            best = (weight, server_made);
        }
    }
    (
        clauses.join(pick(random, &[",", ", "])),
        (plain_json, best.1),
    )
}

/// An `Accept` field; three in eight are structured: `S` and a number.
pub(crate) fn make(random: &mut Random) -> Vec<u8> {
    match random.below(8) {
        0 => return make::bytes(random, 60),
        1..=3 => return format!("S{}", random.next()).into_bytes(),
        _ => {}
    }
    let mut field = make::words(random, &TYPES, 14);
    if one_in(random, 2) {
        make::mutate(random, &mut field, &TYPES);
    }
    field
}

/// As it was put together; other types change nothing, wherever they stand, and neither do blanks around clauses.
pub(crate) fn check(_random: &mut Random, input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let seed = text.strip_prefix('S').and_then(|seed| seed.parse().ok());
    let made = seed.map(structured);
    let text = made.as_ref().map_or(text.as_ref(), |(text, _)| text);
    let says = |text: &str| {
        let accept = Accept::parse(text);
        (
            accept.encodings().any(|own| own == Encoding::Json),
            accept.transform(),
        )
    };
    let bound = 16 * 1024 + 64 * text.len();
    let said = meter::within(bound, || says(text));
    if let Some((text, expected)) = &made
        && !text.is_empty()
    {
        assert_eq!(said, *expected, "{text:?}");
    }
    if !text.trim().is_empty() {
        assert_eq!(says(&format!("{text},text/html")), said);
        assert_eq!(says(&format!("text/html;q=0.1, {text}")), said);
        let spaced = text.replace(',', " , ").replace(';', " ; ");
        assert_eq!(says(&spaced), said);
    }
    let _ = media::pretty_by_agent(text);
}
