//! How inputs are made: mutations, random JSON, random bytes, and random splits of what was made.

use crate::support::random::Random;

/// What JSON documents are disturbed with.
pub(crate) const JSON_WORDS: [&[u8]; 44] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\"",
    b"\\",
    b"\\\"",
    b"\\u00e9",
    b"\\ud83d",
    b"\\ud83d\\ude00",
    b"\\u0000",
    b"\\/",
    b"\n",
    b" ",
    b"\t\r\n ",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xc3\xa9",
    b"null",
    b"true",
    b"false",
    b"0",
    b"-",
    b"1e9",
    b"-0.5E-3",
    b"18446744073709551616",
    b"\"\"",
    b"{}",
    b"[]",
    b"\"items\":[",
    b"\"rows\":[",
    b"\"items\":null",
    b"\"metadata\":{\"resourceVersion\":\"7\"}",
    b"\"resourceVersion\":\"9\"",
    b"\"labels\":{\"a\":\"b\"}",
    b"\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}",
    b"\"object\":{",
    b"\"type\":\"ADDED\"",
    b"\"kind\":\"PodList\"",
    b"\"continue\":\"x\"",
    b"{\"type\":\"BOOKMARK\",\"object\":{}}",
];

/// A number below `bound`, which is not 0.
pub(crate) fn below(random: &mut Random, bound: usize) -> usize {
    random.below(bound.max(1) as u64) as usize
}

/// Whether one of `chances` came about.
pub(crate) fn one_in(random: &mut Random, chances: u64) -> bool {
    random.below(chances) == 0
}

/// One of these.
pub(crate) fn pick<T: Clone>(random: &mut Random, from: &[T]) -> T {
    from[below(random, from.len())].clone()
}

/// Up to `most` random bytes.
pub(crate) fn bytes(random: &mut Random, most: usize) -> Vec<u8> {
    let count = below(random, most + 1);
    (0..count).map(|_| random.next() as u8).collect()
}

/// Up to `most` bytes out of a few.
pub(crate) fn letters(random: &mut Random, alphabet: &[u8], most: usize) -> Vec<u8> {
    let count = below(random, most + 1);
    (0..count).map(|_| pick(random, alphabet)).collect()
}

/// Up to `most` of these words, one behind the other.
pub(crate) fn words(random: &mut Random, words: &[&[u8]], most: usize) -> Vec<u8> {
    let count = below(random, most + 1);
    (0..count)
        .flat_map(|_| pick(random, words))
        .copied()
        .collect()
}

/// Disturbs `bytes` in a few places; `words` are what may be put in.
pub(crate) fn mutate(random: &mut Random, bytes: &mut Vec<u8>, words: &[&[u8]]) {
    let most = 1 + random.below(6);
    for _ in 0..1 + random.below(most) {
        let at = below(random, bytes.len() + 1);
        let most = 1 << random.below(8);
        let length = 1 + below(random, most);
        let end = bytes.len().min(at + length);
        match random.below(9) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = random.next() as u8,
            2 => drop(bytes.drain(at..end)),
            3 => {
                let again = bytes[at..end].to_vec();
                let to = below(random, bytes.len() + 1);
                drop(bytes.splice(to..to, again));
            }
            4 if one_in(random, 4) => bytes.truncate(at),
            5 => {
                let with = pick(random, words).to_vec();
                drop(bytes.splice(at..end, with));
            }
            6 if at < bytes.len() => {
                let one = pick(random, words);
                bytes[at] = *one.first().unwrap_or(&b'x');
            }
            _ => {
                let word = pick(random, words).to_vec();
                drop(bytes.splice(at..at, word));
            }
        }
    }
}

/// Random JSON: any value, nested at most so deep; `names` are what keys are taken from.
pub(crate) fn json(random: &mut Random, depth: usize, names: &[&str], out: &mut Vec<u8>) {
    blank(random, out);
    match random.below(if depth == 0 { 5 } else { 9 }) {
        0 => string(random, out),
        1 => out.extend_from_slice(pick(
            random,
            &[b"null".as_slice(), b"true", b"false", b"{}", b"[]", b"\"\""],
        )),
        2 => number(random, out),
        3 => out.extend_from_slice(format!("\"{}\"", random.next() >> random.below(64)).as_bytes()),
        4 => out.extend_from_slice(b"\"a\""),
        5 | 6 => {
            out.push(b'{');
            let count = below(random, 6);
            for n in 0..count {
                if n > 0 {
                    out.push(b',');
                }
                blank(random, out);
                if one_in(random, 5) {
                    string(random, out);
                } else {
                    out.extend_from_slice(format!("\"{}\"", pick(random, names)).as_bytes());
                }
                blank(random, out);
                out.push(b':');
                json(random, depth - 1, names, out);
            }
            blank(random, out);
            out.push(b'}');
        }
        _ => {
            out.push(b'[');
            let count = below(random, 5);
            for n in 0..count {
                if n > 0 {
                    out.push(b',');
                }
                json(random, depth - 1, names, out);
            }
            out.push(b']');
        }
    }
    blank(random, out);
}

/// A JSON string of anything.
pub(crate) fn string(random: &mut Random, out: &mut Vec<u8>) {
    const PIECES: [&[u8]; 14] = [
        b"a",
        b"B",
        b"0",
        b" ",
        b".",
        b"-",
        b"/",
        b"\xc3\xa9",
        b"\xf0\x9f\x98\x80",
        b"\\n",
        b"\\\"",
        b"\\\\",
        b"\\u0041",
        b"\\ud83d\\ude00",
    ];
    out.push(b'"');
    out.extend(words(random, &PIECES, 8));
    out.push(b'"');
}

fn number(random: &mut Random, out: &mut Vec<u8>) {
    let sign = if one_in(random, 3) { "-" } else { "" };
    let whole = random.next() >> random.below(64);
    let text = match random.below(4) {
        0 => format!("{sign}{whole}.{}", random.below(1000)),
        1 => format!("{sign}{whole}e{}", random.below(30)),
        2 => format!("{sign}{}E-{}", random.below(10), random.below(9)),
        _ => format!("{sign}{whole}"),
    };
    out.extend_from_slice(text.as_bytes());
}

fn blank(random: &mut Random, out: &mut Vec<u8>) {
    if one_in(random, 12) {
        out.extend(letters(random, b" \n\t\r", 3));
    }
}

/// `bytes` in pieces: two, a few, or one byte each; some may be empty.
pub(crate) fn split<'a>(random: &mut Random, bytes: &'a [u8]) -> Vec<&'a [u8]> {
    let most = match random.below(4) {
        0 if bytes.len() <= 4096 => return bytes.chunks(1).collect(),
        1 => {
            let (front, back) = bytes.split_at(below(random, bytes.len() + 1));
            return vec![front, back];
        }
        2 => 1 + bytes.len() / 3,
        _ => 1 + below(random, 1 + bytes.len() / 8),
    };
    let mut pieces = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let length = below(random, most + 1).min(rest.len());
        // Not too many empty pieces.
        let length = if length == 0 && one_in(random, 2) {
            1
        } else {
            length
        };
        let (front, back) = rest.split_at(length);
        pieces.push(front);
        rest = back;
    }
    pieces
}

/// A running digest (FNV-1a), so that what was decoded twice can be compared without being kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digest(pub(crate) u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    /// Takes in more bytes.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// Takes in bytes that end here.
    pub(crate) fn item(&mut self, bytes: &[u8]) {
        self.add(bytes);
        self.add(&(bytes.len() as u64).to_le_bytes());
    }
}
