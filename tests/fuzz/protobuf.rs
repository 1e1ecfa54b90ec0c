//! What reads protobuf: messages, lists, watches, objects, and what is asked of bytes of either encoding. The same however it
//! is fed, within its bounds, and put together again it is what it was.

use std::sync::OnceLock;

use toono::k8s::encoding::Encoding;
use toono::k8s::object::ResourceVersion;
use toono::k8s::resource::GroupVersionResource;
use toono::wire::error::Error;
use toono::wire::field;
use toono::wire::list;
use toono::wire::list::ListMeta;
use toono::wire::list::OBJECT_LIMIT;
use toono::wire::list::Part;
use toono::wire::list::Rejoin;
use toono::wire::object;
use toono::wire::protobuf;
use toono::wire::protobuf::list::ListDecoder;
use toono::wire::protobuf::watch::WatchDecoder;
use toono::wire::protobuf::watch::encode;
use toono::wire::watch;

use crate::fuzz::golden::golden;
use crate::fuzz::make;
use crate::fuzz::make::Digest;
use crate::fuzz::make::JSON_WORDS;
use crate::fuzz::make::below;
use crate::fuzz::make::one_in;
use crate::fuzz::make::pick;
use crate::fuzz::meter;
use crate::support::random::Random;

macro_rules! bodies {
    ($($name:literal),* $(,)?) => {
        [$(include_bytes!(concat!("../golden/", $name, "_protobuf.body")) as &[u8]),*]
    };
}

const LISTS: [&[u8]; 8] = bodies!(
    "list_csidrivers_empty",
    "list_csinodes",
    "list_exact_expired",
    "list_leases",
    "list_namespaces",
    "list_runtimeclasses",
    "list_secrets",
    "list_configmaps_half",
);
const STREAMS: [&[u8]; 4] = bodies!(
    "watch_configmaps",
    "watch_configmaps_half",
    "watch_expired",
    "watch_future_rv",
);
const OBJECTS: [&[u8]; 3] = bodies!("get_missing", "get_pod", "get_service",);

/// What messages are disturbed with.
const WORDS: [&[u8]; 22] = [
    b"k8s\0",
    b"{",
    b"\0",
    b"\x0a",
    b"\x0a\0",
    b"\x12",
    b"\x12\x02\x0a\0",
    b"\x1a\0\x22\0",
    b"\x32\x037",
    b"\x0b",
    b"\x0c",
    b"\x7b",
    b"\x08\x01",
    b"\x0d\x01\x02\x03\x04",
    b"\x09\x01\x02\x03\x04\x05\x06\x07\x08",
    b"\x80",
    b"\x80\0",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x82\xb8\x02\x05later",
    b"\x0a\x12\x0a\x02v1\x12\x0cConfigMapList",
    b"\x5a\x06\x0a\x01k\x12\x01v",
];

/// The largest envelope, as the decoder states it.
const ENVELOPE: usize = 64 << 10;

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value > 127 {
        out.push(value as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A random message: of numbers that objects have, nested at most so deep.
fn message(random: &mut Random, depth: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..below(random, 6) {
        let number = pick(random, &[1, 1, 2, 3, 5, 6, 11, 12, 15, 5000]);
        match random.below(8) {
            0 => {
                varint(number << 3, &mut out);
                varint(random.next() >> random.below(64), &mut out);
            }
            1 => {
                let (kind, len) = pick(random, &[(1, 8), (5, 4)]);
                varint(number << 3 | kind, &mut out);
                out.extend((0..len).map(|_| random.next() as u8));
            }
            _ => {
                let inner = match random.below(4) {
                    0 | 1 if depth > 0 => message(random, depth - 1),
                    2 => random.below(2_000).to_string().into_bytes(),
                    _ => make::letters(random, b"abk8s\0\x0a\x12", 8),
                };
                varint(number << 3 | 2, &mut out);
                varint(inner.len() as u64, &mut out);
                out.extend(inner);
            }
        }
    }
    out
}

fn disturbed(random: &mut Random, mut bytes: Vec<u8>) -> Vec<u8> {
    if !one_in(random, 4) {
        make::mutate(random, &mut bytes, &WORDS);
    }
    bytes
}

/// Bare objects, out of the lists.
fn items() -> &'static [Vec<u8>] {
    static ITEMS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    ITEMS.get_or_init(|| {
        let mut items = Vec::new();
        for list in LISTS {
            let mut decoder = ListDecoder::new(OBJECT_LIMIT);
            decoder.push(list).expect("within limits");
            while let Some(part) = decoder.part().expect("a golden list") {
                if let Part::Item(item) = part {
                    items.push(item.to_vec());
                }
            }
        }
        items
    })
}

/// A message.
pub(crate) fn make_message(random: &mut Random) -> Vec<u8> {
    let bytes = match random.below(4) {
        0 => make::words(random, &WORDS, 20),
        1 => pick(random, &OBJECTS).to_vec(),
        _ => message(random, 4),
    };
    disturbed(random, bytes)
}

/// Its fields are the message; what is found is the last of its number; envelopes open and close.
pub(crate) fn check_message(random: &mut Random, input: &[u8]) {
    let all: Result<Vec<_>, _> = protobuf::fields(input).collect();
    let path: Vec<u32> = (0..1 + below(random, 4))
        .map(|_| 1 + random.below(6) as u32)
        .collect();
    let found = protobuf::find(input, &path);
    match &all {
        Ok(all) => {
            let again: Vec<u8> = all.iter().flat_map(|field| field.span).copied().collect();
            assert_eq!(again, input);
            if let [number] = path[..] {
                let last = all.iter().rev().find(|field| field.number == number);
                assert_eq!(found, Ok(last.map(|field| field.value)));
            }
        }
        Err(error) => assert_eq!(found.err().as_ref(), Some(error)),
    }
    if let Ok(unknown) = protobuf::open(input) {
        let mut again = Vec::new();
        protobuf::wrap(unknown.api_version, unknown.kind, unknown.raw, &mut again);
        assert_eq!(protobuf::open(&again), Ok(unknown));
    }
}

/// A list.
pub(crate) fn make_list(random: &mut Random) -> Vec<u8> {
    let bytes = match random.below(8) {
        0 => [b"k8s\0".as_slice(), &make::words(random, &WORDS, 20)].concat(),
        1 if one_in(random, 400) => {
            let (mut inner, mut bytes) = (Vec::new(), b"k8s\0".to_vec());
            let size = ENVELOPE / 2 + below(random, 10 * ENVELOPE);
            let number = pick(random, &[2, 1, 7]);
            varint(number << 3 | 2, &mut inner);
            varint(size as u64, &mut inner);
            inner.resize(inner.len() + size, 0);
            bytes.push(pick(random, b"\x12\x12\x3a"));
            varint(inner.len() as u64, &mut bytes);
            bytes.extend(inner);
            bytes
        }
        1 | 2 => {
            let mut bytes = Vec::new();
            protobuf::wrap("v1", "PodList", &message(random, 4), &mut bytes);
            bytes
        }
        _ => pick(random, &LISTS).to_vec(),
    };
    disturbed(random, bytes)
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Listed {
    items: u64,
    digest: Digest,
    /// All parts, joined.
    joined: Digest,
    bytes: usize,
}

fn listed(pieces: &[&[u8]], limit: usize) -> (Listed, Result<ListMeta, Error>) {
    let mut decoder = ListDecoder::new(limit);
    let mut listed = Listed::default();
    let mut feed = || {
        for piece in pieces {
            decoder.push(piece)?;
            let mut calls = 0;
            while let Some(part) = decoder.part()? {
                calls += 1;
                assert!(calls <= 2 * piece.len() + 2, "it comes to an end");
                match part {
                    Part::Prefix(bytes) | Part::Suffix(bytes) => {
                        listed.joined.add(bytes);
                        listed.bytes += bytes.len();
                    }
                    Part::Item(item) => {
                        let mut head = Vec::new();
                        protobuf::list::item_head(item.len(), &mut head);
                        listed.joined.add(&head);
                        listed.joined.add(item);
                        listed.bytes += head.len() + item.len();
                        listed.items += 1;
                        listed.digest.item(item);
                    }
                }
            }
        }
        Ok(())
    };
    let end = feed();
    (listed, end.and_then(|()| decoder.finish()))
}

/// Whole, in pieces, put together again, and with items left out.
pub(crate) fn check_list(random: &mut Random, input: &[u8]) {
    let limit = pick(random, &[16, 500, 4096, OBJECT_LIMIT, OBJECT_LIMIT]);
    let (whole, meta) = listed(&[input], limit);
    let pieces = make::split(random, input);
    let largest = pieces.iter().map(|piece| piece.len()).max().unwrap_or(0);
    let bound = 3 * (limit.max(ENVELOPE).min(input.len()) + largest) + 4 * ENVELOPE;
    let (split, meta_of_split) = meter::within(bound, || listed(&pieces, limit));
    let how = format!("in {} pieces, limit {limit}", pieces.len());
    assert_eq!(meta, meta_of_split, "{how}");
    assert_eq!(
        (whole.items, whole.digest),
        (split.items, split.digest),
        "{how}"
    );
    if meta.is_err() {
        return;
    }
    assert_eq!(whole, split, "{how}");
    let mut own = Digest::default();
    own.add(input);
    assert_eq!(
        (whole.joined, whole.bytes),
        (own, input.len()),
        "parts make the list"
    );
    // Of the same length with some of them left out, and the rest is there.
    let mut decoder = list::ListDecoder::new(Encoding::Protobuf, limit);
    let mut rejoin = Rejoin::new(Encoding::Protobuf);
    let (mut out, mut kept) = (Vec::new(), Listed::default());
    decoder.push(input).expect("as before");
    while let Some(part) = decoder.part().expect("as before") {
        match part {
            Part::Prefix(bytes) | Part::Suffix(bytes) => rejoin.envelope(bytes, true, &mut out),
            Part::Item(item) => {
                let admitted = one_in(random, 2);
                if admitted {
                    kept.items += 1;
                    kept.digest.item(item);
                }
                rejoin.item(item, admitted, &mut out);
            }
        }
    }
    assert_eq!(out.len(), input.len());
    // What is skipped is no item, and its limit is the envelope's.
    let (again, meta_again) = listed(&[&out], limit);
    if !matches!(meta_again, Err(Error::TooLarge { .. })) {
        assert_eq!(meta_again, meta);
        assert_eq!((again.items, again.digest), (kept.items, kept.digest));
    }
}

/// A stream.
pub(crate) fn make_watch(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    match random.below(6) {
        0 => bytes = make::words(random, &WORDS, 20),
        1 | 2 => {
            for _ in 0..below(random, 4) {
                let kind = pick(random, &["ADDED", "BOOKMARK", "ERROR", "added"]);
                let mut object = Vec::new();
                protobuf::wrap("v1", "Pod", &message(random, 3), &mut object);
                encode(kind, &object, &mut bytes);
            }
        }
        _ => bytes.extend_from_slice(pick(random, &STREAMS)),
    }
    disturbed(random, bytes)
}

type Watched = (Vec<(watch::EventType, Digest)>, Result<(), Error>);

fn watched(pieces: &[&[u8]], limit: usize, again: &mut Vec<u8>) -> Watched {
    let mut decoder = WatchDecoder::new(limit);
    let mut events = Vec::new();
    let mut feed = || {
        for piece in pieces {
            decoder.push(piece)?;
            while let Some(event) = decoder.event()? {
                let mut digest = Digest::default();
                digest.item(event.object);
                events.push((event.kind, digest));
                encode(event.kind.as_str(), event.object, again);
            }
        }
        Ok(())
    };
    let end = feed();
    (events, end.and_then(|()| decoder.finish()))
}

/// Whole, in pieces, and encoded again.
pub(crate) fn check_watch(random: &mut Random, input: &[u8]) {
    let limit = pick(random, &[40, 500, 4096, OBJECT_LIMIT, OBJECT_LIMIT]);
    let mut again = Vec::new();
    let whole = watched(&[input], limit, &mut again);
    let pieces = make::split(random, input);
    let largest = pieces.iter().map(|piece| piece.len()).max().unwrap_or(0);
    let bound = 3 * (limit.min(input.len()) + largest) + 6 * input.len() + (64 << 10);
    let mut other = Vec::new();
    let split = meter::within(bound, || watched(&pieces, limit, &mut other));
    assert_eq!(whole, split, "in {} pieces, limit {limit}", pieces.len());
    assert_eq!(again, other);
    let mut third = Vec::new();
    let encoded = watched(&[&again], OBJECT_LIMIT, &mut third);
    assert_eq!((encoded.0, encoded.1), (whole.0, Ok(())));
    assert_eq!(third, again);
    if STREAMS.contains(&input) && limit == OBJECT_LIMIT {
        assert_eq!(again, input);
    }
}

/// An object, bare or with its envelope.
pub(crate) fn make_object(random: &mut Random) -> Vec<u8> {
    let bytes = match random.below(6) {
        0 => make::words(random, &WORDS, 20),
        1 => message(random, 4),
        2 => pick(random, &OBJECTS).to_vec(),
        _ => pick(random, items()),
    };
    disturbed(random, bytes)
}

/// All views, and edits that change what they say they do.
pub(crate) fn check_object(random: &mut Random, input: &[u8]) {
    meter::within(16 * 1024 + 64 * input.len(), || views(random, input));
    let Ok((key, _)) = protobuf::object::key_and_version(input) else {
        return;
    };
    let version = ResourceVersion(random.next() >> random.below(64));
    let stamped = protobuf::object::with_resource_version(input, version).expect("it has one");
    assert_eq!(
        protobuf::object::key_and_version(&stamped),
        Ok((key, version))
    );
    let rest = |bytes| -> Vec<Vec<u8>> {
        let fields = protobuf::fields(bytes).map_while(Result::ok);
        let others = fields.filter(|field| field.number != 1);
        others.map(|field| field.span.to_vec()).collect()
    };
    let bare = protobuf::object::bare(input).expect("as before");
    assert_eq!(rest(&stamped), rest(bare), "nothing else is touched");
    assert!(protobuf::object::is_same(bare, &stamped));
    let metadata = protobuf::object::metadata_only(input).expect("it has metadata");
    assert_eq!(
        protobuf::find(&metadata, &[1]),
        protobuf::find(bare, &[1]),
        "its own bytes"
    );
}

fn views(random: &mut Random, input: &[u8]) {
    let _ = protobuf::object::meta(input);
    let _ = protobuf::object::is_same(input, input);
    let path: Vec<u32> = (0..below(random, 4))
        .map(|_| 1 + random.below(14) as u32)
        .collect();
    let _ = protobuf::object::text_at(input, &path);
    dispatched(random, input);
}

/// What asks the bytes for their encoding.
fn dispatched(random: &mut Random, input: &[u8]) {
    let _ = object::meta(input);
    let _ = object::key_and_version(input);
    let _ = object::shown_key(input);
    let _ = object::has_type(input);
    let _ = object::with_type(input, "Pod", "v1");
    let _ = object::with_resource_version(input, ResourceVersion(7));
    let _ = object::metadata_only(input);
    let _ = object::status_code_and_reason(input);
    if let Some((kind, api_version, rest)) = object::without_type(input)
        && Encoding::of(input) == Encoding::Protobuf
    {
        let again = object::with_type(&rest, &kind, &api_version);
        // A bare message may begin like anything but an envelope or JSON.
        if Encoding::of(&rest) == Encoding::Protobuf {
            assert_eq!(
                protobuf::open(&again).map(|own| own.raw.to_vec()),
                Ok(rest.to_vec())
            );
        }
    }
    let kind = pick(random, &["pods", "events", "nodes", "secrets"]);
    let resource = GroupVersionResource::new("", "v1", kind);
    for name in [
        "spec.nodeName",
        "spec.hostNetwork",
        "spec.unschedulable",
        "source",
        "type",
    ] {
        let _ = field::value(&resource, name, input);
    }
}

/// Something of either encoding.
pub(crate) fn make_mixed(random: &mut Random) -> Vec<u8> {
    let mut bytes = match random.below(6) {
        0 => pick(random, &golden().short_lists),
        1 => pick(random, &golden().short_streams),
        2 => pick(random, &golden().objects),
        3 => pick(random, &LISTS).to_vec(),
        4 => pick(random, &STREAMS).to_vec(),
        _ => pick(random, items()),
    };
    let words: &[&[u8]] = if one_in(random, 2) {
        &WORDS
    } else {
        &JSON_WORDS
    };
    if !one_in(random, 4) {
        make::mutate(random, &mut bytes, words);
    }
    bytes
}

/// Given to the readers of both encodings: what is not theirs is refused, and two objects of different encodings compare.
pub(crate) fn check_mixed(random: &mut Random, input: &[u8]) {
    dispatched(random, input);
    let _ = object::is_same(input, &pick(random, items()));
    let _ = object::is_same(&pick(random, &golden().objects), input);
    for encoding in [Encoding::Json, Encoding::Protobuf] {
        let mut decoder = list::ListDecoder::new(encoding, OBJECT_LIMIT);
        let mut read = || {
            decoder.push(input)?;
            while decoder.part()?.is_some() {}
            Ok::<_, Error>(())
        };
        let end = read().and_then(|()| decoder.finish());
        if end.is_ok() {
            let own = matches!(input.first(), Some(b'k')) == (encoding == Encoding::Protobuf);
            assert!(own, "a list in {encoding:?}");
        }
        let mut decoder = watch::WatchDecoder::new(encoding, OBJECT_LIMIT);
        let (mut events, mut read) = (0, || decoder.push(input));
        if read().is_ok() {
            while let Ok(Some(event)) = decoder.event() {
                events += 1;
                let _ = object::meta(event.object);
            }
        }
        let braced = input.trim_ascii_start().starts_with(b"{");
        if braced && input.len() > 3 && encoding == Encoding::Protobuf {
            assert_eq!(events, 0, "a length that no frame has");
        }
    }
}
