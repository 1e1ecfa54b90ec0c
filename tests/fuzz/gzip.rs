//! The gzip decoder, alone and in front of the list decoder: the same text however it is fed, 16 KiB a step at the most.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use toono::io::gzip::Error;
use toono::io::gzip::Gunzip;
use toono::wire::json::list::ListDecoder;
use toono::wire::list::OBJECT_LIMIT;
use toono::wire::list::Part;

use crate::fuzz::golden::golden;
use crate::fuzz::make;
use crate::fuzz::make::Digest;
use crate::fuzz::make::below;
use crate::fuzz::make::one_in;
use crate::fuzz::make::pick;
use crate::fuzz::meter;
use crate::support::random::Random;

/// What a step may append, as the decoder states it.
const STEP: usize = 16 << 10;

const WORDS: [&[u8]; 8] = [
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff",
    b"\x1f\x8b\x08\x1f",
    b"\x03\x00",
    b"\x01\x00\x00\xff\xff",
    b"\0",
    b"\xff",
    b"\x00\x00\x00\x00\x00\x00\x00\x00",
    b"\x04",
];

/// A member, with the fields of its header that no API server sends.
fn member(random: &mut Random, text: &[u8]) -> Vec<u8> {
    let level = Compression::new(random.below(10) as u32);
    let mut encoder = GzEncoder::new(Vec::new(), level);
    encoder.write_all(text).expect("a vector takes all");
    let packed = encoder.finish().expect("a vector takes all");
    if !one_in(random, 3) {
        return packed;
    }
    let flags = (random.below(16) << 1) as u8;
    let mut out = packed[..10].to_vec();
    out[3] = flags;
    let most = if one_in(random, 8) { 6_000 } else { 40 };
    if flags & 4 != 0 {
        let extra = make::bytes(random, most);
        out.extend_from_slice(&(extra.len() as u16).to_le_bytes());
        out.extend_from_slice(&extra);
    }
    for flag in [8, 16] {
        if flags & flag != 0 {
            out.extend(make::letters(random, b"abc", most));
            out.push(0);
        }
    }
    if flags & 2 != 0 {
        out.extend_from_slice(b"hc");
    }
    out.extend_from_slice(&packed[10..]);
    out
}

/// A stream of members.
pub(crate) fn make(random: &mut Random) -> Vec<u8> {
    if one_in(random, 12) {
        return make::bytes(random, 80);
    }
    let mut stream = Vec::new();
    for _ in 0..below(random, 4) {
        let text = match random.below(5) {
            0 if one_in(random, 20) => vec![b'x'; below(random, 300_000)],
            0 => make::letters(random, b"ab", 400),
            1 => make::bytes(random, 400),
            2 => Vec::new(),
            _ => pick(random, &golden().objects),
        };
        stream.extend(member(random, &text));
    }
    if one_in(random, 2) {
        make::mutate(random, &mut stream, &WORDS);
    }
    stream
}

struct Inflated {
    length: u64,
    digest: Digest,
    end: Result<(), Error>,
}

/// Decodes; `take` gets what comes of each step.
fn inflate(pieces: &[&[u8]], held: usize, mut take: impl FnMut(&[u8])) -> Result<(), Error> {
    let mut gunzip = Gunzip::new();
    let mut plain = Vec::with_capacity(held);
    for piece in pieces {
        let mut rest = *piece;
        let mut idle = 0;
        while !rest.is_empty() {
            plain.clear();
            let used = gunzip.step(rest, &mut plain)?;
            assert!(
                plain.len() <= STEP.max(held),
                "{} bytes came of one step",
                plain.len()
            );
            idle = if used == 0 && plain.is_empty() {
                idle + 1
            } else {
                0
            };
            assert!(idle < 3, "it goes on");
            take(&plain);
            rest = rest.get(used..).expect("no more than there was");
        }
    }
    gunzip.finish()
}

fn inflated(pieces: &[&[u8]], held: usize) -> Inflated {
    let (mut length, mut digest) = (0, Digest::default());
    let end = inflate(pieces, held, |plain| {
        length += plain.len() as u64;
        digest.add(plain);
    });
    Inflated {
        length,
        digest,
        end,
    }
}

/// Whole, in pieces, and by flate2's own reader.
pub(crate) fn check(random: &mut Random, input: &[u8]) {
    let pieces = make::split(random, input);
    let largest = pieces.iter().map(|piece| piece.len()).max().unwrap_or(0);
    let held = pick(random, &[0, 0, 100, 100_000]);
    // The window and tables of the inflater, a step, and a header.
    let bound = (128 << 10) + held + 2 * largest;
    let split = meter::within(bound, || inflated(&pieces, held));
    let whole = inflated(&[input], 0);
    assert_eq!(whole.end, split.end, "in {} pieces", pieces.len());
    if whole.end.is_ok() {
        assert_eq!((whole.length, whole.digest), (split.length, split.digest));
        let mut theirs = Vec::new();
        let mut reader = flate2::read::MultiGzDecoder::new(input);
        // It is stricter about the header's checksum, and takes an empty stream for a cut one.
        if std::io::Read::read_to_end(&mut reader, &mut theirs).is_ok() {
            let mut digest = Digest::default();
            digest.add(&theirs);
            assert_eq!((theirs.len() as u64, digest), (whole.length, whole.digest));
        }
    }
}

/// A packed list.
pub(crate) fn make_list(random: &mut Random) -> Vec<u8> {
    let list = if one_in(random, 40) {
        pick(random, &golden().lists).to_vec()
    } else {
        pick(random, &golden().short_lists)
    };
    let (front, back) = list.split_at(below(random, list.len()));
    let mut stream = member(random, front);
    stream.extend(member(random, back));
    if one_in(random, 2) {
        make::mutate(random, &mut stream, &WORDS);
    }
    stream
}

fn items(pieces: &[&[u8]]) -> (u64, Digest, Option<String>) {
    let mut decoder = ListDecoder::new(OBJECT_LIMIT);
    let (mut items, mut digest) = (0, Digest::default());
    let mut wrong: Option<toono::wire::error::Error> = None;
    let end = inflate(pieces, 0, |plain| {
        if wrong.is_none() {
            wrong = take(&mut decoder, plain, &mut items, &mut digest).err();
        }
    });
    let wrong = wrong.map(|error| error.to_string());
    let end = end.err().map(|error| error.to_string());
    let cut = decoder.finish().err().map(|error| error.to_string());
    (items, digest, end.or(wrong).or(cut))
}

fn take(
    decoder: &mut ListDecoder,
    plain: &[u8],
    items: &mut u64,
    digest: &mut Digest,
) -> Result<(), toono::wire::error::Error> {
    decoder.push(plain)?;
    while let Some(part) = decoder.part()? {
        if let Part::Item(item) = part {
            *items += 1;
            digest.item(item);
        }
    }
    Ok(())
}

/// Whole and in pieces: the same items; all of them only if the stream has ended well.
pub(crate) fn check_list(random: &mut Random, input: &[u8]) {
    let whole = items(&[input]);
    let pieces = make::split(random, input);
    let split = items(&pieces);
    assert_eq!(whole.2, split.2, "in {} pieces", pieces.len());
    if whole.2.is_none() {
        assert_eq!(whole, split);
    }
}
