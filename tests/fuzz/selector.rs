//! Label and field selectors: what is taken has a canonical text that says the same, and selects the same.

use toono::k8s::resource::GroupVersionResource;
use toono::k8s::selector::FieldSelector;
use toono::k8s::selector::LabelSelector;
use toono::wire::field;

use crate::fuzz::make;
use crate::fuzz::make::below;
use crate::fuzz::make::one_in;
use crate::fuzz::make::pick;
use crate::fuzz::meter;
use crate::support::random::Random;

const KEYS: [&str; 6] = ["a", "b", "in", "notin", "x.io/a", "app.kubernetes.io/name"];
const VALUES: [&str; 7] = ["", "1", "7", "in", "b.c_d-e", "A", "99999999999999999999"];

const LABEL_WORDS: [&[u8]; 22] = [
    b"a",
    b"b",
    b"in",
    b"notin",
    b"x.io/a",
    b"=",
    b"==",
    b"!=",
    b"!",
    b"(",
    b")",
    b",",
    b"<",
    b">",
    b" ",
    b"\t",
    b"1",
    b"-1",
    b"+1",
    b"/",
    b"\xc3\xa9",
    b".",
];

/// A label selector; half of them structured: `S`, then a number that [`structured`] makes it from.
pub(crate) fn make_labels(random: &mut Random) -> Vec<u8> {
    match random.below(8) {
        0 => make::bytes(random, 40),
        1..=3 => make::words(random, &LABEL_WORDS, 14),
        4 => {
            let (mut text, _) = structured(random.next());
            let mut bytes = std::mem::take(&mut text).into_bytes();
            make::mutate(random, &mut bytes, &LABEL_WORDS);
            bytes
        }
        _ => format!("S{}", random.next()).into_bytes(),
    }
}

type Labels = Vec<(String, String)>;
type Requirement = Box<dyn Fn(Option<&str>) -> bool>;

/// A selector, and what it asks of which label.
fn structured(seed: u64) -> (String, Vec<(String, Requirement)>) {
    let random = &mut Random::seeded(seed);
    let mut terms = Vec::new();
    let mut asked: Vec<(String, Requirement)> = Vec::new();
    for _ in 0..1 + below(random, 4) {
        let key = pick(random, &KEYS).to_string();
        let value = pick(random, &VALUES).to_string();
        let values: Vec<String> = (0..1 + below(random, 4))
            .map(|_| pick(random, &VALUES).to_string())
            .collect();
        let bound = random.below(20) as i64;
        let list = values.join(pick(random, &[",", " , ", ", "]));
        let (term, requirement): (String, Requirement) = match random.below(9) {
            0 => (key.clone(), Box::new(|value| value.is_some())),
            1 => (format!("!{key}"), Box::new(|value| value.is_none())),
            2 => (
                format!("{key}={value}"),
                Box::new(move |is| is == Some(&value)),
            ),
            3 => (
                format!("{key} == {value}"),
                Box::new(move |is| is == Some(&value)),
            ),
            4 => (
                format!("{key}!={value}"),
                Box::new(move |is| is != Some(&value)),
            ),
            5 => (
                format!("{key} in ({list})"),
                Box::new(move |is| is.is_some_and(|is| values.iter().any(|value| value == is))),
            ),
            6 => (
                format!("{key}  notin({list})"),
                Box::new(move |is| is.is_none_or(|is| values.iter().all(|value| value != is))),
            ),
            7 => (
                format!("{key}>{bound}"),
                Box::new(move |is| {
                    is.and_then(|is| is.parse().ok())
                        .is_some_and(|is: i64| is > bound)
                }),
            ),
            _ => (
                format!("{key} < {bound}"),
                Box::new(move |is| {
                    is.and_then(|is| is.parse().ok())
                        .is_some_and(|is: i64| is < bound)
                }),
            ),
        };
        terms.push(term);
        asked.push((key, requirement));
    }
    (terms.join(pick(random, &[",", ", "])), asked)
}

fn labels(random: &mut Random) -> Labels {
    let mut labels = Labels::new();
    for key in KEYS {
        if one_in(random, 2) {
            labels.push((key.to_owned(), pick(random, &VALUES).to_string()));
        }
    }
    labels
}

/// Canonical text, and the same selection by an independent reading.
pub(crate) fn check_labels(random: &mut Random, input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let seed = text.strip_prefix('S').and_then(|seed| seed.parse().ok());
    let made = seed.map(structured);
    let text = made.as_ref().map_or(text.as_ref(), |(text, _)| text);
    let bound = 16 * 1024 + 128 * text.len();
    let parsed = meter::within(bound, || LabelSelector::parse(text));
    let Ok(selector) = parsed else {
        assert!(made.is_none(), "{text:?}: {parsed:?}");
        return;
    };
    let canonical = selector.to_string();
    assert_eq!(
        LabelSelector::parse(&canonical).as_ref(),
        Ok(&selector),
        "{canonical:?}"
    );
    assert_eq!(selector.is_empty(), canonical.is_empty());
    for _ in 0..4 {
        let labels = labels(random);
        let selected = selector.matches(&labels);
        let again = LabelSelector::parse(&canonical).is_ok_and(|again| again.matches(&labels));
        assert_eq!(selected, again, "{canonical:?} of {labels:?}");
        if let Some((text, asked)) = &made {
            let expected = asked.iter().all(|(key, requirement)| {
                let found = labels.iter().find(|(name, _)| name == key);
                requirement(found.map(|(_, value)| value.as_str()))
            });
            assert_eq!(selected, expected, "{text:?} of {labels:?}");
        }
    }
}

const FIELDS: [&str; 7] = [
    "metadata.name",
    "metadata.namespace",
    "spec.nodeName",
    "spec.hostNetwork",
    "status.phase",
    "data.a",
    "",
];

const FIELD_WORDS: [&[u8]; 16] = [
    b"metadata.name",
    b"spec.nodeName",
    b"status.phase",
    b"=",
    b"==",
    b"!=",
    b",",
    b"\\",
    b"\\,",
    b"\\=",
    b"\\\\",
    b"a",
    b"edge-00",
    b"!",
    b" ",
    b"\xc3\xa9",
];

/// A field selector; half of them structured: `S` and a number.
pub(crate) fn make_fields(random: &mut Random) -> Vec<u8> {
    match random.below(6) {
        0 => make::bytes(random, 40),
        1 | 2 => make::words(random, &FIELD_WORDS, 12),
        _ => format!("S{}", random.next()).into_bytes(),
    }
}

/// Field, whether it must differ, value.
type Term = (String, bool, String);

fn terms(seed: u64) -> (String, Vec<Term>) {
    let random = &mut Random::seeded(seed);
    let mut terms = Vec::new();
    let mut texts = Vec::new();
    for _ in 0..1 + below(random, 4) {
        let field = pick(random, &FIELDS).to_string();
        let negated = one_in(random, 3);
        let value = make::letters(random, b"ab1,=\\! .", 5);
        let value = String::from_utf8(value).expect("ASCII");
        let escaped: String = value
            .chars()
            .flat_map(|letter| {
                let escape = matches!(letter, ',' | '=' | '\\').then_some('\\');
                escape.into_iter().chain([letter])
            })
            .collect();
        let operator = match (negated, one_in(random, 2)) {
            (true, _) => "!=",
            (false, true) => "=",
            (false, false) => "==",
        };
        texts.push(format!("{field}{operator}{escaped}"));
        terms.push((field, negated, value));
    }
    (texts.join(","), terms)
}

/// Canonical text, the terms that were put in, and the same selection by an independent reading.
pub(crate) fn check_fields(random: &mut Random, input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let seed = text.strip_prefix('S').and_then(|seed| seed.parse().ok());
    let made = seed.map(terms);
    let text = made.as_ref().map_or(text.as_ref(), |(text, _)| text);
    let bound = 16 * 1024 + 128 * text.len();
    let parsed = meter::within(bound, || FieldSelector::parse(text));
    let Ok(selector) = parsed else {
        assert!(made.is_none(), "{text:?}: {parsed:?}");
        return;
    };
    let canonical = selector.to_string();
    assert_eq!(
        FieldSelector::parse(&canonical).as_ref(),
        Ok(&selector),
        "{canonical:?}"
    );
    let fields: Vec<Option<String>> = FIELDS
        .iter()
        .map(|_| {
            one_in(random, 2).then(|| pick(random, &["", "a", "b", "a,b", "\\", "!"]).to_string())
        })
        .collect();
    let value_of = |name: &str| {
        let at = FIELDS.iter().position(|field| *field == name)?;
        fields[at].clone()
    };
    let selected = selector.matches(value_of);
    if let Some((text, mut terms)) = made {
        let expected = terms.iter().all(|(field, negated, value)| {
            (value_of(field).unwrap_or_default() == *value) != *negated
        });
        assert_eq!(selected, expected, "{text:?} of {fields:?}");
        let mut found: Vec<Term> = selector
            .terms()
            .map(|(field, negated, value)| (field.to_owned(), negated, value.to_owned()))
            .collect();
        terms.sort();
        terms.dedup();
        found.sort();
        assert_eq!(found, terms, "{text:?}");
    }
    let pods = GroupVersionResource::new("", "v1", "pods");
    for (name, _, _) in selector.terms() {
        let _ = field::selectable(&pods, name);
        let _ = field::unsupported(&pods, name);
        let _ = field::value(&pods, name, br#"{"spec":{"nodeName":"a"},"status":{}}"#);
    }
}
