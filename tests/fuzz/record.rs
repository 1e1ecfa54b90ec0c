//! Frames of the flash format: damaged ones are refused, and what is taken is a record that can be written again.

use toono::k8s::collection::Collection;
use toono::k8s::collection::Credential;
use toono::k8s::resource::GroupVersionResource;
use toono::k8s::selector::FieldSelector;
use toono::wire::record;
use toono::wire::record::FRAME_HEAD;
use toono::wire::record::Head;
use toono::wire::record::Item;
use toono::wire::record::MAX_PAYLOAD;
use toono::wire::record::Place;
use toono::wire::record::Record;

use crate::fuzz::make;
use crate::fuzz::make::below;
use crate::fuzz::make::one_in;
use crate::fuzz::make::pick;
use crate::fuzz::meter;
use crate::support::random::Random;

const WORDS: [&[u8]; 8] = [
    b"\0",
    b"\x01",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x80\x80\x80\x80\x00",
    b"a/b",
];

/// Frames, or what stands where frames should.
pub(crate) fn make(random: &mut Random) -> Vec<u8> {
    if one_in(random, 12) {
        return make::bytes(random, 80);
    }
    let mut bytes = Vec::new();
    for _ in 0..1 + below(random, 3) {
        let start = bytes.len();
        let object = make::bytes(random, 60);
        let text = String::from_utf8_lossy(&make::bytes(random, 8)).into_owned();
        record::append(&mut bytes, &written(random, &text, &object)).expect("short");
        if one_in(random, 2) {
            // Damage that the checksum covers: only what is read from the payload can refuse it.
            let mut payload = bytes.split_off(start + FRAME_HEAD);
            make::mutate(random, &mut payload, &WORDS);
            payload.truncate(MAX_PAYLOAD);
            bytes.truncate(start);
            bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&crc32fast::hash(&payload).to_le_bytes());
            bytes.extend_from_slice(&payload);
        }
    }
    if one_in(random, 3) {
        make::mutate(random, &mut bytes, &WORDS);
    }
    bytes
}

fn written<'a>(random: &mut Random, text: &'a str, object: &'a [u8]) -> Record<'a> {
    let number = |random: &mut Random| random.next() >> random.below(64);
    let item = Item {
        key: text,
        version: number(random),
        typed: one_in(random, 2),
        staged: one_in(random, 2),
        previous: one_in(random, 2).then(|| Place {
            offset: number(random),
            len: number(random) as u32,
        }),
        object,
    };
    match random.below(9) {
        0 => Record::Head(Head::new(&Collection {
            resource: GroupVersionResource::new("", "v1", text),
            namespace: one_in(random, 2).then(|| text.to_owned()),
            labels: Default::default(),
            fields: FieldSelector::name(text),
            encoding: record::encoding(one_in(random, 2)),
            credential: if one_in(random, 2) {
                Credential::Agent
            } else {
                Credential::Caller(text.to_owned())
            },
        })),
        1 => Record::Type {
            kind: text,
            api_version: text,
            typed: one_in(random, 2),
            protobuf: one_in(random, 2),
        },
        2 => Record::Begin,
        3 => Record::Complete {
            version: number(random),
            check: number(random) as u32,
        },
        4 => Record::Oldest {
            version: number(random),
        },
        5 => Record::Mark {
            synced: number(random),
            fresh: number(random),
        },
        6 => Record::Delete(item),
        7 => Record::Sealed {
            key: number(random),
        },
        _ => Record::Put(item),
    }
}

/// Reads frame after frame, as the mirror does.
pub(crate) fn check(random: &mut Random, input: &[u8]) {
    let bound = 4 * 1024 + 8 * input.len();
    meter::within(bound, || read(input));
    let object = pick(random, &[b"{}".as_slice(), b""]);
    let record = written(random, "a/b", object);
    let mut frame = Vec::new();
    let place = record::append(&mut frame, &record).expect("short");
    assert_eq!((place.offset, place.end()), (0, frame.len() as u64));
    assert_eq!(record::parse(&frame), Some(record));
    // Any one byte that changes makes it no frame.
    let at = below(random, frame.len());
    frame[at] ^= 1 + random.below(255) as u8;
    assert_eq!(record::parse(&frame), None);
}

fn read(input: &[u8]) {
    let furthest = record::vouched(input);
    let mut marks = Vec::new();
    let mut rest = input;
    let (mut check, mut frames) = (0, 0);
    while let Some(len) = record::frame_len(rest) {
        assert!(len as usize > FRAME_HEAD && len as usize <= FRAME_HEAD + MAX_PAYLOAD);
        let Some((frame, behind)) = rest.split_at_checked(len as usize) else {
            break;
        };
        rest = behind;
        frames += 1;
        assert!(frames <= input.len() / FRAME_HEAD, "it comes to an end");
        if let Some(head) = frame.first_chunk::<FRAME_HEAD>() {
            check = record::fold(check, *head);
        }
        let Some(found) = record::parse(frame) else {
            continue;
        };
        if let Record::Mark { synced, .. } = found {
            marks.push(synced);
        }
        if let Record::Head(head) = &found
            && let Some(collection) = head.collection()
        {
            let again = Head::new(&collection).collection();
            assert_eq!(again.as_ref(), Some(&collection));
        }
        let mut again = b"before".to_vec();
        let place = record::append(&mut again, &found).expect("it was short enough");
        assert_eq!(place.offset, 6);
        assert_eq!(record::parse(&again[6..]), Some(found));
    }
    assert!(
        marks.iter().max() <= furthest.as_ref(),
        "marks are found wherever they stand"
    );
}
