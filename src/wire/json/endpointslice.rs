//! The endpoints of an EndpointSlice in JSON.

use crate::wire::endpointslice::Change;
use crate::wire::endpointslice::Decide;
use crate::wire::endpointslice::Endpoint;
use crate::wire::error::Error;
use crate::wire::json;

/// See [`crate::wire::endpointslice::rewrite`].
pub fn rewrite(slice: &[u8], decide: Decide<'_>) -> Result<Option<Vec<u8>>, Error> {
    let (mut address_type, mut endpoints) = (None, None);
    for pair in json::members(slice) {
        match pair? {
            (b"addressType", value) => address_type = json::text(value),
            (b"endpoints", value) => endpoints = Some(value).filter(|v| v.starts_with(b"[")),
            _ => {}
        }
    }
    let Some(endpoints) = endpoints else {
        return Ok(None);
    };
    let address_type = address_type.unwrap_or_default();
    let mut edits = Edits {
        whole: slice,
        done: 0,
        out: Vec::new(),
    };
    for bytes in json::elements(endpoints) {
        let bytes = bytes?;
        let (endpoint, parts) = read(bytes)?;
        if let Some(change) = decide(&address_type, &endpoint) {
            edits.endpoint(bytes, parts, &change);
        }
    }
    Ok(edits.finish())
}

/// Where what can be changed stands in an endpoint.
#[derive(Default)]
struct Parts<'a> {
    addresses: Option<&'a [u8]>,
    conditions: Option<&'a [u8]>,
    ready: Option<&'a [u8]>,
    serving: Option<&'a [u8]>,
}

fn read(bytes: &[u8]) -> Result<(Endpoint<'_>, Parts<'_>), Error> {
    let (mut endpoint, mut parts) = (Endpoint::default(), Parts::default());
    for pair in json::members(bytes) {
        match pair? {
            (b"addresses", value) => {
                parts.addresses = Some(value);
                if value.starts_with(b"[") {
                    for address in json::elements(value) {
                        endpoint.addresses.extend(json::text(address?));
                    }
                }
            }
            (b"conditions", value) => {
                parts.conditions = Some(value);
                if !value.starts_with(b"{") {
                    continue;
                }
                for pair in json::members(value) {
                    let (key, value) = pair?;
                    let truth = match value {
                        b"true" => Some(true),
                        b"false" => Some(false),
                        _ => None,
                    };
                    match key {
                        b"ready" => (endpoint.ready, parts.ready) = (truth, Some(value)),
                        b"serving" => (endpoint.serving, parts.serving) = (truth, Some(value)),
                        b"terminating" => endpoint.terminating = truth,
                        _ => {}
                    }
                }
            }
            (b"targetRef", value)
                if value.starts_with(b"{") && json::member(value, b"kind")? == Some(b"\"Pod\"") =>
            {
                endpoint.pod = json::member(value, b"uid")?.and_then(json::text);
            }
            (b"nodeName", value) => endpoint.node = json::text(value),
            _ => {}
        }
    }
    Ok((endpoint, parts))
}

/// Changes to one text.
struct Edits<'a> {
    whole: &'a [u8],
    /// How much of it is in `out`, changed or not.
    done: usize,
    out: Vec<u8>,
}

/// Changes to one endpoint: where, how many bytes go, and what comes instead; in their order.
type Spans = Vec<(usize, usize, String)>;

impl<'a> Edits<'a> {
    fn endpoint(&mut self, endpoint: &'a [u8], parts: Parts<'a>, change: &Change) {
        let mut spans = Spans::new();
        // What has no place yet goes to the front of what it belongs to, a comma behind it.
        let (mut front, mut added) = (String::new(), String::new());
        if let Some(addresses) = &change.addresses {
            let list = ["[\"", &addresses.join("\",\""), "\"]"].concat();
            self.put(&mut spans, parts.addresses, "addresses", list, &mut front);
        }
        for (name, part, value) in [
            ("ready", parts.ready, change.ready),
            ("serving", parts.serving, change.serving),
        ] {
            if let Some(value) = value {
                let value = if value { "true" } else { "false" };
                self.put(&mut spans, part, name, value.to_owned(), &mut added);
            }
        }
        match parts.conditions {
            Some(part) if part.starts_with(b"{") => self.open(&mut spans, part, added),
            part if !added.is_empty() => {
                added.pop();
                let value = ["{", &added, "}"].concat();
                self.put(&mut spans, part, "conditions", value, &mut front);
            }
            _ => {}
        }
        self.open(&mut spans, endpoint, front);
        for (at, len, text) in spans {
            self.out.extend_from_slice(&self.whole[self.done..at]);
            self.out.extend_from_slice(text.as_bytes());
            self.done = at + len;
        }
    }

    /// Puts a value in the place of a part, or with its name behind `added` when there is no such part.
    fn put(
        &self,
        spans: &mut Spans,
        part: Option<&[u8]>,
        name: &str,
        value: String,
        added: &mut String,
    ) {
        match part {
            Some(part) => insert(spans, self.place(part), part.len(), value),
            None => {
                for text in ["\"", name, "\":", &value, ","] {
                    added.push_str(text);
                }
            }
        }
    }

    /// Puts members, each with a comma behind it, before those of an object.
    fn open(&self, spans: &mut Spans, object: &[u8], mut members: String) {
        if object[1..].trim_ascii_start().starts_with(b"}") {
            members.pop();
        }
        if !members.is_empty() {
            insert(spans, self.place(object) + 1, 0, members);
        }
    }

    /// Where a part stands: it is a slice of the whole, so how far it is into it.
    fn place(&self, part: &[u8]) -> usize {
        part.as_ptr() as usize - self.whole.as_ptr() as usize
    }

    fn finish(mut self) -> Option<Vec<u8>> {
        if self.done == 0 {
            return None;
        }
        self.out.extend_from_slice(&self.whole[self.done..]);
        Some(self.out)
    }
}

/// Adds a change in its place: there are five at the most.
fn insert(spans: &mut Spans, at: usize, len: usize, text: String) {
    let place = spans.iter().take_while(|span| span.0 < at).count();
    spans.insert(place, (at, len, text));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(slice: &str, change: Change) -> Option<String> {
        let slice = rewrite(slice.as_bytes(), &|_, _| Some(change.clone())).expect("a slice");
        slice.map(|bytes| String::from_utf8(bytes).expect("text"))
    }

    #[test]
    fn what_is_missing_is_added_and_what_is_there_keeps_its_place() {
        let down = Change {
            addresses: Some(vec!["fd00::2".to_owned()]),
            ready: Some(false),
            serving: Some(false),
        };
        for (before, after) in [
            (
                r#"{"endpoints":[{"addresses":["a"]}],"x":1}"#,
                r#"{"endpoints":[{"conditions":{"ready":false,"serving":false},"addresses":["fd00::2"]}],"x":1}"#,
            ),
            (
                r#"{"endpoints":[ { "conditions" : {} , "addresses":["a" , "b"], "later":{"y":[1]}} ]}"#,
                r#"{"endpoints":[ { "conditions" : {"ready":false,"serving":false} , "addresses":["fd00::2"], "later":{"y":[1]}} ]}"#,
            ),
            (
                r#"{"endpoints":[{"conditions":{"terminating":true,"serving":null},"addresses":null}]}"#,
                r#"{"endpoints":[{"conditions":{"ready":false,"terminating":true,"serving":false},"addresses":["fd00::2"]}]}"#,
            ),
            (
                r#"{"endpoints":[{"conditions":null}]}"#,
                r#"{"endpoints":[{"addresses":["fd00::2"],"conditions":{"ready":false,"serving":false}}]}"#,
            ),
            (
                r#"{"endpoints":[{}]}"#,
                r#"{"endpoints":[{"addresses":["fd00::2"],"conditions":{"ready":false,"serving":false}}]}"#,
            ),
        ] {
            assert_eq!(
                rewritten(before, down.clone()).as_deref(),
                Some(after),
                "{before}"
            );
        }
        assert_eq!(
            rewritten(r#"{"endpoints":[{"addresses":[]}]}"#, Change::default()),
            None
        );
    }

    #[test]
    fn whose_endpoint_it_is_is_read() {
        let of = |bytes: &'static [u8]| read(bytes).expect("an endpoint").0;
        let endpoint = of(
            br#"{"addresses":["10.0.0.1"],"targetRef":{"kind":"Pod","uid":"u-1"},"nodeName":"n"}"#,
        );
        assert_eq!(endpoint.pod.as_deref(), Some("u-1"));
        assert_eq!(endpoint.node.as_deref(), Some("n"));
        assert_eq!(endpoint.addresses, ["10.0.0.1"]);
        for other in [
            &br#"{"targetRef":{"kind":"Node","uid":"u-1"}}"#[..],
            br#"{"targetRef":{"kind":"Pod"}}"#,
            br#"{"targetRef":null}"#,
        ] {
            assert_eq!(of(other).pod, None);
        }
    }
}
