//! The endpoints of an EndpointSlice (`discovery.k8s.io/v1`), read and changed where they stand: all other bytes, unknown
//! fields among them, stay what they are.

use std::borrow::Cow;

use crate::k8s::encoding::Encoding;
use crate::wire::error::Error;
use crate::wire::json;
use crate::wire::protobuf;

/// One endpoint, as far as it is looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint<'a> {
    /// `addresses`
    pub addresses: Vec<Cow<'a, str>>,
    /// `conditions.ready`; where it is not said, it is.
    pub ready: Option<bool>,
    /// `conditions.serving`; where it is not said, it is what `ready` is.
    pub serving: Option<bool>,
    /// `conditions.terminating`; where it is not said, it is not.
    pub terminating: Option<bool>,
    /// `targetRef.uid` of a pod.
    pub pod: Option<Cow<'a, str>>,
    /// `nodeName`
    pub node: Option<Cow<'a, str>>,
}

/// What to change of an endpoint; what is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The addresses instead of those that are there; they need no escapes.
    pub addresses: Option<Vec<String>>,
    /// `conditions.ready`
    pub ready: Option<bool>,
    /// `conditions.serving`
    pub serving: Option<bool>,
}

/// Says what to change of an endpoint of a slice whose `addressType` comes first.
pub type Decide<'d> = &'d dyn Fn(&str, &Endpoint<'_>) -> Option<Change>;

/// The slice as it stands in a list, changed; `None` when there was nothing to change.
pub fn rewrite(slice: &[u8], decide: Decide<'_>) -> Result<Option<Vec<u8>>, Error> {
    match Encoding::of(slice) {
        Encoding::Json => json::endpointslice::rewrite(slice, decide),
        Encoding::Protobuf => protobuf::endpointslice::rewrite(slice, decide),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::list::ListDecoder;
    use crate::wire::list::OBJECT_LIMIT;
    use crate::wire::list::Part;

    fn items(encoding: Encoding, list: &[u8]) -> Vec<Vec<u8>> {
        let mut decoder = ListDecoder::new(encoding, OBJECT_LIMIT);
        decoder.push(list).expect("a list");
        let mut items = Vec::new();
        while let Some(part) = decoder.part().expect("a list") {
            if let Part::Item(item) = part {
                items.push(item.to_vec());
            }
        }
        items
    }

    fn golden() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let json = items(
            Encoding::Json,
            include_bytes!("../../tests/golden/list_endpointslices_json.body"),
        );
        let protobuf = items(
            Encoding::Protobuf,
            include_bytes!("../../tests/golden/list_endpointslices_protobuf.body"),
        );
        assert_eq!((json.len(), protobuf.len()), (48, 48));
        (json, protobuf)
    }

    fn read(slice: &[u8]) -> Vec<String> {
        let seen = std::cell::RefCell::new(Vec::new());
        let unchanged = rewrite(slice, &|address_type, endpoint| {
            seen.borrow_mut()
                .push(format!("{address_type} {endpoint:?}"));
            None
        });
        assert_eq!(unchanged, Ok(None));
        seen.into_inner()
    }

    #[test]
    fn real_slices_say_the_same_in_both_encodings() {
        let (json, protobuf) = golden();
        let mut here = 0;
        for (json, protobuf) in json.iter().zip(&protobuf) {
            let said = read(json);
            assert_eq!(said, read(protobuf));
            assert!(said.iter().all(|said| said.starts_with("IPv4 Endpoint")));
            here += said.iter().filter(|said| said.contains("edge-00")).count();
        }
        // One in each but an empty one, and more in a full one.
        assert_eq!(here, 55);
    }

    #[test]
    fn what_is_changed_in_one_encoding_is_changed_in_the_other_and_nothing_else_is() {
        let (json, protobuf) = golden();
        let to = |from: &'static str, to: &[&str], up: bool| {
            let to: Vec<String> = to.iter().map(|&to| to.to_owned()).collect();
            move |_: &str, endpoint: &Endpoint<'_>| {
                (endpoint.addresses.first().map(AsRef::as_ref) == Some(from)).then(|| Change {
                    addresses: Some(to.clone()),
                    ready: Some(up),
                    serving: Some(up),
                })
            }
        };
        let change = to("10.42.0.1", &["10.42.0.200", "10.42.0.201"], false);
        let back = to("10.42.0.200", &["10.42.0.1"], true);
        for (json, protobuf) in json.iter().zip(&protobuf) {
            let ours = rewrite(json, &change).expect("a slice");
            let theirs = rewrite(protobuf, &change).expect("a slice");
            let (Some(ours), Some(theirs)) = (&ours, &theirs) else {
                assert_eq!((ours, theirs, read(json).len()), (None, None, 0));
                continue;
            };
            assert_eq!(read(ours), read(theirs));
            let text = std::str::from_utf8(json).expect("text").replacen(
                r#"["10.42.0.1"],"conditions":{"ready":true,"serving":true,"#,
                r#"["10.42.0.200","10.42.0.201"],"conditions":{"ready":false,"serving":false,"#,
                1,
            );
            assert_eq!(std::str::from_utf8(ours), Ok(&*text));
            // Put back, both are what the server sent, byte for byte.
            assert_eq!(rewrite(ours, &back), Ok(Some(json.clone())));
            assert_eq!(rewrite(theirs, &back), Ok(Some(protobuf.clone())));
        }
    }

    #[test]
    fn what_is_no_slice_is_left_alone_or_is_an_error() {
        let always = |_: &str, _: &Endpoint<'_>| {
            Some(Change {
                ready: Some(false),
                ..Change::default()
            })
        };
        for none in [
            &b"{}"[..],
            b"{\"endpoints\":null}",
            b"{\"endpoints\":[]}",
            b"\x0a\0",
            b"k8s\0\x12\0",
        ] {
            assert_eq!(rewrite(none, &always), Ok(None), "{none:x?}");
        }
        for bad in [
            &b""[..],
            b"{\"endpoints\":[7]}",
            b"{\"endpoints\":[{]}",
            b"\x12\x05",
            b"\x12\x02\x0a\x05",
        ] {
            let rewritten = rewrite(bad, &always);
            assert!(
                rewritten.is_err() || bad.is_empty(),
                "{bad:x?} {rewritten:?}"
            );
        }
    }
}
