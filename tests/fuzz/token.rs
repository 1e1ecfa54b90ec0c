//! TokenRequests: the same request reads the same in both encodings, a different one never does, and rubbish is refused in
//! bounded memory.

use toono::k8s::encoding::Encoding;
use toono::wire::token::Kept;
use toono::wire::token::Spec;
use toono::wire::token::expires;

use crate::fuzz::make;
use crate::fuzz::make::below;
use crate::fuzz::make::one_in;
use crate::fuzz::make::pick;
use crate::fuzz::meter;
use crate::support::random::Random;

/// What a token may be asked for: audiences, seconds, and `kind`, `name` and `uid` of what it is bound to.
type Asked = (Vec<String>, u64, Option<[String; 3]>);

fn asked(random: &mut Random) -> Asked {
    let word = |random: &mut Random| pick(random, &["", "a", "b", "Pod", "é", "\"\\<"]).to_owned();
    let audiences = (0..below(random, 4)).map(|_| word(random)).collect();
    let seconds = random.next() >> random.below(64);
    let bound = one_in(random, 2).then(|| [word(random), word(random), word(random)]);
    (audiences, seconds, bound)
}

/// The same for what is the same: audiences are a set, and bound to nothing is bound to nothing with no name.
fn same(mut asked: Asked) -> Asked {
    asked.0.sort();
    asked.0.dedup();
    asked.2.get_or_insert_default();
    asked
}

fn json((audiences, seconds, bound): &Asked) -> Vec<u8> {
    let quoted = |text: &String| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let audiences: Vec<String> = audiences.iter().map(quoted).collect();
    let bound = bound
        .as_ref()
        .map_or("null".to_owned(), |[kind, name, uid]| {
            format!(
                "{{\"uid\":{},\"kind\":{},\"apiVersion\":\"v1\",\"name\":{}}}",
                quoted(uid),
                quoted(kind),
                quoted(name)
            )
        });
    format!(
        "{{\"kind\":\"TokenRequest\",\"spec\":{{\"boundObjectRef\":{bound},\"expirationSeconds\":{seconds},\
         \"audiences\":[{}]}},\"status\":{{\"token\":\"t\",\"expirationTimestamp\":\"2026-11-24T08:46:39Z\"}}}}",
        audiences.join(",")
    )
    .into_bytes()
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value > 127 {
        out.push(value as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
}

fn delimited(number: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(number << 3 | 2);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn protobuf((audiences, seconds, bound): &Asked) -> Vec<u8> {
    let (mut spec, mut message, mut body) = (Vec::new(), Vec::new(), b"k8s\0".to_vec());
    for audience in audiences {
        delimited(1, audience.as_bytes(), &mut spec);
    }
    if let Some([kind, name, uid]) = bound {
        let mut object = Vec::new();
        for (number, text) in [(1, kind.as_str()), (2, "v1"), (3, name), (4, uid)] {
            delimited(number, text.as_bytes(), &mut object);
        }
        delimited(3, &object, &mut spec);
    }
    spec.push(4 << 3);
    varint(*seconds, &mut spec);
    delimited(1, b"", &mut message);
    delimited(2, &spec, &mut message);
    delimited(3, b"\x0a\x01t\x12\x02\x08\x07", &mut message);
    delimited(1, b"\x0a\x02v1", &mut body);
    delimited(2, &message, &mut body);
    body
}

/// A body; half of them are structured: `S` and a number.
pub(crate) fn make(random: &mut Random) -> Vec<u8> {
    if one_in(random, 2) {
        return format!("S{}", random.next()).into_bytes();
    }
    let asked = asked(random);
    let mut body = match random.below(3) {
        0 => json(&asked),
        1 => protobuf(&asked),
        _ => make::bytes(random, 60),
    };
    make::mutate(random, &mut body, &make::JSON_WORDS);
    body
}

/// As it was put together; what was changed may be read as anything that can be told from all else.
pub(crate) fn check(_random: &mut Random, input: &[u8]) {
    let text = |spec: Spec| spec.text("ns", "sa");
    let number = input
        .strip_prefix(b"S")
        .and_then(|seed| std::str::from_utf8(seed).ok()?.parse().ok());
    if let Some(seed) = number {
        let random = &mut Random::seeded(seed);
        let (one, other) = (asked(random), asked(random));
        let read = |encoding, body: &[u8]| {
            Spec::read(encoding, body)
                .and_then(text)
                .expect("a request")
        };
        let texts = [
            read(Encoding::Json, &json(&one)),
            read(Encoding::Protobuf, &protobuf(&one)),
        ];
        assert_eq!(texts[0], texts[1]);
        let different = read(Encoding::Json, &json(&other));
        assert_eq!(same(one.clone()) == same(other), texts[0] == different);
        assert_eq!(expires(Encoding::Json, &json(&one)), Some(1_795_509_999));
        assert_eq!(expires(Encoding::Protobuf, &protobuf(&one)), Some(7));
        return;
    }
    let bound = 16 * 1024 + 64 * input.len();
    meter::within(bound, || {
        for encoding in [Encoding::Json, Encoding::Protobuf] {
            let spec = Spec::read(encoding, input);
            if let Some(text) = spec.and_then(text) {
                assert!(text.split('\n').count() >= 6, "{text:?}");
            }
            let _ = expires(encoding, input);
        }
        if let Some(kept) = Kept::decode(input) {
            assert_eq!(Kept::decode(&kept.encode()), Some(kept));
        }
    });
}
