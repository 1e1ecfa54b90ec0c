//! Request targets and query strings.

use toono::k8s::collection::Collection;
use toono::k8s::collection::Credential;
use toono::wire::record;
use toono::wire::record::Head;
use toono::wire::record::Record;
use toono::wire::request;
use toono::wire::request::Options;
use toono::wire::request::RequestInfo;
use toono::wire::request::Verb;

use crate::fuzz::make;
use crate::fuzz::make::below;
use crate::fuzz::make::one_in;
use crate::fuzz::make::pick;
use crate::fuzz::meter;
use crate::support::random::Random;

const METHODS: [&str; 9] = [
    "GET", "GET", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS",
];

const SEGMENTS: [&[u8]; 30] = [
    b"api",
    b"apis",
    b"v1",
    b"v1beta2",
    b"apps",
    b"discovery.k8s.io",
    b"namespaces",
    b"namespaces",
    b"kube-system",
    b"pods",
    b"configmaps",
    b"nodes",
    b"watch",
    b"proxy",
    b"status",
    b"finalize",
    b"log",
    b"exec",
    b"a",
    b"p%2Dq",
    b"%2F",
    b"%",
    b"%zz",
    b"%ff",
    b".",
    b"..",
    b"",
    b"A",
    b"\xc3\xa9",
    b"a=b,c\\",
];

const TARGETS: [&[u8]; 12] = [
    b"/api/v1/pods",
    b"/api/v1/pods?watch=true&resourceVersion=0",
    b"/api/v1/namespaces/a/pods/p",
    b"/api/v1/namespaces/a/pods/p/log?follow=true",
    b"/apis/discovery.k8s.io/v1/endpointslices?limit=500&resourceVersion=0",
    b"/api/v1/nodes/n",
    b"/api/v1/namespaces/a/status",
    b"/api/v1/watch/namespaces/a/pods/p",
    b"/api/v1/proxy/nodes/n/x/y",
    b"/apis/edge.example.com/v1/namespaces/a/cameras?labelSelector=a+in+%28b%29",
    b"/api/v1/pods?fieldSelector=spec.nodeName%3Dedge-00&timeoutSeconds=494",
    b"/version?timeout=32s",
];

const WORDS: [&[u8]; 36] = [
    b"/",
    b"//",
    b"?",
    b"&",
    b"=",
    b"+",
    b"%",
    b"%2",
    b"%2F",
    b"%3D",
    b"%2C",
    b"%5C",
    b"%00",
    b"%C3%A9",
    b"%ff",
    b"#",
    b",",
    b"!",
    b"watch",
    b"watch=1",
    b"watch=false",
    b"labelSelector=",
    b"fieldSelector=",
    b"labelSelector=a%3Db",
    b"fieldSelector=metadata.name%3Dp",
    b"resourceVersion=",
    b"limit=",
    b"limit=0",
    b"limit=18446744073709551616",
    b"continue=",
    b"timeoutSeconds=-1",
    b"sendInitialEvents=true",
    b"allowWatchBookmarks",
    b"pretty=0",
    b"namespaces/",
    b"\xf0\x9f\x98\x80",
];

/// A request target, the number of its method in front.
pub(crate) fn make_request(random: &mut Random) -> Vec<u8> {
    let mut target = vec![b'0' + below(random, METHODS.len()) as u8];
    match random.below(8) {
        0 => target.extend(make::bytes(random, 60)),
        1 | 2 => {
            target.extend_from_slice(pick(random, &TARGETS));
            make::mutate(random, &mut target, &WORDS);
        }
        3 => {
            target.extend_from_slice(pick(random, &TARGETS));
            target.push(if one_in(random, 2) { b'?' } else { b'&' });
            target.extend(make::words(random, &WORDS, 6));
        }
        _ => {
            target.extend_from_slice(pick(
                random,
                &[b"/api/v1".as_slice(), b"/apis/g.io/v1", b"/apis", b""],
            ));
            for _ in 0..below(random, 7) {
                target.push(b'/');
                target.extend_from_slice(pick(random, &SEGMENTS));
            }
            if one_in(random, 2) {
                target.push(b'?');
                target.extend(make::words(random, &WORDS, 4));
            }
        }
    }
    target
}

/// What a request names is named again by our own request for it, and by its file's head.
pub(crate) fn check_request(_random: &mut Random, input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut letters = text.chars();
    let number = letters
        .next()
        .and_then(|letter| letter.to_digit(10))
        .unwrap_or(0);
    let method = METHODS.get(number as usize).unwrap_or(&"GET");
    let target = letters.as_str();
    let bound = 16 * 1024 + 64 * target.len();
    let info = meter::within(bound, || RequestInfo::parse(method, target));
    assert!(target.starts_with(&info.path));
    if let Some(resource) = &info.resource {
        let words = [&resource.name, &resource.subresource, &resource.namespace];
        let length: usize = words.into_iter().flatten().map(String::len).sum();
        // What is not UTF-8 becomes U+FFFD, at most thrice as long.
        assert!(length <= 3 * target.len());
    }
    for credential in [Credential::Agent, Credential::Caller("ab12".into())] {
        let Ok(Some(collection)) = info.collection(credential.clone()) else {
            continue;
        };
        assert!(matches!(info.verb, Verb::Get | Verb::List | Verb::Watch));
        assert!(collection.covers(&collection));
        assert_eq!(collection.credential, credential);
        named_again(&collection);
        written_and_read(&collection);
    }
}

fn named_again(collection: &Collection) {
    let encoded = request::percent_encode;
    let ours = format!(
        "{}?labelSelector={}&fieldSelector={}",
        collection.path(),
        encoded(&collection.labels.to_string()),
        encoded(&collection.fields.to_string()),
    );
    let again = RequestInfo::parse("GET", &ours).collection(collection.credential.clone());
    assert_eq!(
        again.as_ref(),
        Ok(&Some(collection.clone())),
        "asked as {ours:?}"
    );
}

fn written_and_read(collection: &Collection) {
    let mut frame = Vec::new();
    record::append(&mut frame, &Record::Head(Head::new(collection))).expect("short");
    let Some(Record::Head(head)) = record::parse(&frame) else {
        panic!("a head is read as it was written");
    };
    assert_eq!(head.collection().as_ref(), Some(collection));
}

/// A query string.
pub(crate) fn make_query(random: &mut Random) -> Vec<u8> {
    match random.below(6) {
        0 => make::bytes(random, 80),
        1 if one_in(random, 2_000) => {
            // As long as a request may be, and nothing but names.
            let mut query = Vec::new();
            while query.len() < 32_000 {
                query.extend_from_slice(format!("{:x}&", random.next() % 0xfff_ffff).as_bytes());
            }
            query
        }
        1 | 2 => make::letters(random, b"ab=&%+3Dd2", 60),
        _ => {
            let mut query = make::words(random, &WORDS, 12);
            make::mutate(random, &mut query, &WORDS);
            query
        }
    }
}

/// Any text comes through encoded; of two the first counts.
pub(crate) fn check_query(_random: &mut Random, input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let bound = 16 * 1024 + 96 * text.len();
    let options = meter::within(bound, || Options::parse(&text));
    assert!(options.unknown.len() <= text.len());
    let encoded = request::percent_encode(&text);
    let sent = format!("labelSelector={encoded}&fieldSelector={encoded}&continue={encoded}&{text}");
    let options = Options::parse(&sent);
    assert_eq!(options.label_selector.as_deref(), Some(text.as_ref()));
    assert_eq!(options.field_selector.as_deref(), Some(text.as_ref()));
    assert_eq!(options.continue_token.unwrap_or_default(), text);
}
