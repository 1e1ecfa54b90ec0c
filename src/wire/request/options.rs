//! The query of a request: the options that Kubernetes knows, and the escapes of values.

use std::time::Duration;

use crate::wire::request::decode;

/// What the query says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `labelSelector`, not parsed.
    pub label_selector: Option<String>,
    /// `fieldSelector`, not parsed.
    pub field_selector: Option<String>,
    /// `resourceVersion`
    pub resource_version: Option<String>,
    /// `resourceVersionMatch`
    pub resource_version_match: Option<String>,
    /// `limit`, if it limits.
    pub limit: Option<u64>,
    /// `continue`, if it continues.
    pub continue_token: Option<String>,
    /// `timeout`: how long the client waits for the whole answer.
    pub timeout: Option<Duration>,
    /// `timeoutSeconds`
    pub timeout_seconds: Option<u64>,
    /// `allowWatchBookmarks`
    pub allow_watch_bookmarks: bool,
    /// `sendInitialEvents`
    pub send_initial_events: Option<bool>,
    /// `pretty`
    pub pretty: Option<bool>,
    /// `watch`
    pub watch: bool,
    /// Parameters that change an answer in a way that is not known here: such a request is not mirrored.
    pub unknown: Vec<String>,
}

impl Options {
    /// Reads a query; of a parameter that comes twice, the first counts.
    pub fn parse(query: &str) -> Self {
        let mut options = Self::default();
        let mut seen = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode_query(name), decode_query(value));
            if seen.contains(&name) {
                continue;
            }
            // Only what is known is remembered, so that many names cost no more than they are.
            if options.set(&name, value) {
                seen.push(name);
            }
        }
        options
    }

    /// Sets what the parameter is; whether it is one that is known.
    fn set(&mut self, name: &str, value: String) -> bool {
        let number = |value: &str| value.parse::<u64>().ok();
        match name {
            "labelSelector" => self.label_selector = Some(value),
            "fieldSelector" => self.field_selector = Some(value),
            "resourceVersion" => self.resource_version = Some(value),
            "resourceVersionMatch" => {
                self.resource_version_match = Some(value).filter(|value| !value.is_empty())
            }
            "continue" => self.continue_token = Some(value).filter(|value| !value.is_empty()),
            "limit" => match number(&value) {
                Some(limit) => self.limit = Some(limit).filter(|limit| *limit > 0),
                None if value.is_empty() => {}
                None => self.unknown.push(name.to_owned()),
            },
            "timeoutSeconds" => match number(&value) {
                Some(seconds) => self.timeout_seconds = Some(seconds),
                None if value.is_empty() => {}
                None => self.unknown.push(name.to_owned()),
            },
            "allowWatchBookmarks" => self.allow_watch_bookmarks = is_true(&value),
            "sendInitialEvents" => self.send_initial_events = Some(is_true(&value)),
            "pretty" => self.pretty = Some(is_true(&value)),
            "watch" => self.watch = is_true(&value),
            // It does not change what is answered.
            "timeout" => self.timeout = go_duration(&value),
            _ => {
                self.unknown.push(name.to_owned());
                return false;
            }
        }
        true
    }
}

/// apimachinery's conversion of a query value to a boolean: present, and neither `false` nor `0`.
fn is_true(value: &str) -> bool {
    !matches!(value.to_ascii_lowercase().as_str(), "false" | "0")
}

/// A duration as Go's `time.ParseDuration` reads it and client-go writes it (`8m14s`, `1.5s`, `500ms`); `None` for what is
/// none, and for one that is not positive.
fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit) = rest.split_at(digits);
        let length = unit
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(unit.len());
        let (unit, after) = unit.split_at(length);
        let unit = Duration::from_nanos(match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        });
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let mut part = match whole {
            "" if !fraction.is_empty() => Duration::ZERO,
            whole => unit.checked_mul(whole.parse().ok()?)?,
        };
        let mut place = unit;
        for digit in fraction.chars() {
            place /= 10;
            part += place * digit.to_digit(10)?;
        }
        sum = sum.checked_add(part)?;
        rest = after;
    }
    Some(sum).filter(|sum| !sum.is_zero())
}

fn decode_query(text: &str) -> String {
    decode(text, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::request::percent_encode;

    #[test]
    fn options_are_read_and_the_first_of_two_counts() {
        let options = Options::parse(
            "allowWatchBookmarks=true&fieldSelector=spec.nodeName%3Dedge-00&labelSelector=a+in+%28b%29&limit=500&resourceVersion=0\
             &resourceVersionMatch=NotOlderThan&sendInitialEvents=true&timeout=8m14s&timeoutSeconds=494&watch=true&limit=1",
        );
        assert_eq!(
            options.field_selector.as_deref(),
            Some("spec.nodeName=edge-00")
        );
        assert_eq!(options.label_selector.as_deref(), Some("a in (b)"));
        assert_eq!(
            (options.limit, options.timeout_seconds),
            (Some(500), Some(494))
        );
        assert_eq!(options.resource_version.as_deref(), Some("0"));
        assert_eq!(options.send_initial_events, Some(true));
        assert!(options.allow_watch_bookmarks && options.watch && options.unknown.is_empty());
        assert_eq!(Options::parse("limit=0&continue=").limit, None);
        assert_eq!(
            Options::parse("a=b&shardSelector=x&limit=x").unknown,
            ["a", "shardSelector", "limit"]
        );
    }

    #[test]
    fn durations_are_gos() {
        let millis = |text| go_duration(text).map(|duration| duration.as_millis());
        for (text, expected) in [
            ("4s", Some(4000)),
            ("8m14s", Some(494_000)),
            ("1h0m0.5s", Some(3_600_500)),
            ("500ms", Some(500)),
            ("1.5s", Some(1500)),
            (".25s", Some(250)),
            ("1.s", Some(1000)),
            ("+2s", Some(2000)),
            ("1m1m", Some(120_000)),
            ("0s", None),
            ("0", None),
            ("", None),
            ("-4s", None),
            ("4", None),
            ("4 s", None),
            ("4d", None),
            ("1.2.3s", None),
            (".s", None),
            ("99999999999999999999999h", None),
        ] {
            assert_eq!(millis(text), expected, "{text}");
        }
        assert_eq!(millis("1000000ns"), Some(1));
        assert_eq!(millis("1000µs"), Some(1));
    }

    #[test]
    fn encoding_and_decoding_are_inverse() {
        let text = "a in (b,c),!d/e é%2F+";
        assert_eq!(decode_query(&percent_encode(text)), text);
        assert_eq!(decode_query("%zz%4"), "%zz%4");
    }
}
