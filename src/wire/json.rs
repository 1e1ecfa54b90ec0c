//! A JSON scanner that takes any chunking and reports where things begin and end.
//!
//! It builds no tree and copies nothing: decoders keep the bytes and cut spans out of them. It is strict (RFC 8259), does not
//! recurse, and is bounded in depth; how much is kept is the decoder's bound.

use crate::wire::error::Error;

pub use crate::wire::json::members::Members;
pub use crate::wire::json::members::elements;
pub use crate::wire::json::members::from_member;
pub use crate::wire::json::members::member;
pub use crate::wire::json::members::members;
pub use crate::wire::json::members::text;

pub mod endpointslice;
pub mod list;
mod members;
pub mod object;
pub mod watch;

/// The deepest nesting that is taken. Kubernetes objects are some twenty levels deep; Go's decoder stops at 10,000.
pub const DEPTH_LIMIT: usize = 512;

/// Something begins or ends. Places are those in the slice that was being scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A key's opening quote stands here, inside this many containers.
    KeyBegins(usize, usize),
    /// A key's closing quote stood before here, inside this many containers.
    KeyEnds(usize, usize),
    /// A value begins here, inside this many containers.
    Begins(usize, usize),
    /// A value has ended before here, inside this many containers.
    Ends(usize, usize),
}

/// Whether an array goes on with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// It does, and that has been passed over.
    Whole,
    /// So far as the bytes go: with more it will be seen.
    Open,
    /// It does not.
    Other,
}

/// The scanner: where it is in the grammar.
#[derive(Clone, Debug)]
pub struct Scanner {
    open: Open,
    state: State,
    /// Marks inside more containers than this are not reported.
    depth: usize,
    /// Bytes scanned in all.
    scanned: u64,
}

/// The open containers, a bit for each: set for objects.
#[derive(Clone, Debug)]
struct Open {
    objects: [u64; DEPTH_LIMIT / 64],
    count: usize,
}

impl Open {
    fn push(&mut self, object: bool) -> Result<(), Error> {
        let word = self.objects.get_mut(self.count / 64);
        let word = word.ok_or(Error::TooDeep)?;
        let bit = 1 << (self.count % 64);
        *word = if object { *word | bit } else { *word & !bit };
        self.count += 1;
        Ok(())
    }

    /// Whether the innermost one is an object; `None` when none is open.
    fn last(&self) -> Option<bool> {
        let at = self.count.checked_sub(1)?;
        Some(self.objects.get(at / 64)? >> (at % 64) & 1 == 1)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A value, or its absence in an array that was just opened.
    Value {
        or_end: bool,
    },
    /// A key, or its absence in an object that was just opened.
    Key {
        or_end: bool,
    },
    Colon,
    /// Behind a value.
    Comma,
    String {
        key: bool,
    },
    Escape {
        key: bool,
    },
    Unicode {
        key: bool,
        left: u8,
    },
    Literal {
        rest: &'static [u8],
    },
    Number(Number),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    Minus,
    Zero,
    Digits,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

impl Number {
    fn may_end(self) -> bool {
        matches!(
            self,
            Self::Zero | Self::Digits | Self::Fraction | Self::ExponentDigits
        )
    }

    fn step(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Minus, b'0') => Some(Self::Zero),
            (Self::Minus, b'1'..=b'9') | (Self::Digits, b'0'..=b'9') => Some(Self::Digits),
            (Self::Zero | Self::Digits, b'.') => Some(Self::Point),
            (Self::Point | Self::Fraction, b'0'..=b'9') => Some(Self::Fraction),
            (Self::Zero | Self::Digits | Self::Fraction, b'e' | b'E') => Some(Self::Exponent),
            (Self::Exponent, b'+' | b'-') => Some(Self::ExponentSign),
            (Self::Exponent | Self::ExponentSign | Self::ExponentDigits, b'0'..=b'9') => {
                Some(Self::ExponentDigits)
            }
            _ => None,
        }
    }
}

impl Scanner {
    /// A scanner at the start of a value, which reports what happens inside at most `depth` containers.
    pub fn new(depth: usize) -> Self {
        Self {
            open: Open {
                objects: [0; DEPTH_LIMIT / 64],
                count: 0,
            },
            state: State::Value { or_end: false },
            depth,
            scanned: 0,
        }
    }

    /// Whether nothing is open: no value has begun, or it has ended.
    pub fn is_outside(&self) -> bool {
        self.open.count == 0 && matches!(self.state, State::Value { .. } | State::Comma)
    }

    /// Takes what follows a value that has ended for the start of another one, as in a stream of values.
    pub fn again(&mut self) {
        debug_assert!(self.is_outside());
        self.state = State::Value { or_end: false };
    }

    /// Scans `bytes` from `*at` on, up to the next mark or to the end (`None`); moves `*at` behind what was scanned.
    pub fn next(&mut self, bytes: &[u8], at: &mut usize) -> Result<Option<Mark>, Error> {
        let from = *at;
        let mark = self.run(bytes, at);
        self.scanned += (*at - from) as u64;
        mark.map_err(|error| match error {
            Error::Malformed { what, .. } => Error::Malformed {
                at: self.scanned,
                what,
            },
            error => error,
        })
    }

    /// Passes over the next element of the array that is open innermost, if it is, byte for byte and without blanks around
    /// it, `object`, which must be one whole JSON object.
    pub fn skip(&mut self, bytes: &[u8], at: &mut usize, object: &[u8]) -> Skip {
        let comma: &[u8] = match self.state {
            State::Comma => b",",
            _ => b"",
        };
        let between = matches!(self.state, State::Comma | State::Value { .. });
        if !between || self.open.last() != Some(false) {
            return Skip::Other;
        }
        let rest = bytes.get(*at..).unwrap_or_default();
        let (first, rest) = rest.split_at(rest.len().min(comma.len()));
        let (here, later) = object.split_at(object.len().min(rest.len()));
        // It ends where its bytes do: nothing can stand behind an object that would be part of it.
        if first != comma.split_at(first.len()).0 || !rest.starts_with(here) {
            Skip::Other
        } else if first.len() < comma.len() || !later.is_empty() {
            Skip::Open
        } else {
            let count = first.len() + object.len();
            *at += count;
            self.scanned += count as u64;
            self.state = State::Comma;
            Skip::Whole
        }
    }

    /// `next`, without counting: an error's place is where `*at` has come to.
    fn run(&mut self, bytes: &[u8], at: &mut usize) -> Result<Option<Mark>, Error> {
        while let Some(byte) = bytes.get(*at).copied() {
            let here = *at;
            let mark = match self.state {
                State::String { key } => {
                    // Most bytes of most objects are here.
                    *at += plain(&bytes[here..]);
                    match bytes.get(*at) {
                        None => None,
                        Some(b'"') => {
                            *at += 1;
                            self.string_ends(key, *at)
                        }
                        Some(b'\\') => {
                            *at += 1;
                            self.state = State::Escape { key };
                            None
                        }
                        Some(_) => return Err(Error::malformed("a control character in a string")),
                    }
                }
                State::Number(number) => match number.step(byte) {
                    Some(number) => {
                        *at += 1;
                        self.state = State::Number(number);
                        None
                    }
                    // The byte that ends a number is not the number's.
                    None if number.may_end() => self.value_ends(here),
                    None => return Err(Error::malformed("a malformed number")),
                },
                _ => {
                    let mark = self.step(byte, here)?;
                    *at += 1;
                    mark
                }
            };
            if mark.is_some() {
                return Ok(mark);
            }
        }
        Ok(None)
    }

    /// One byte outside strings and numbers.
    #[inline(always)]
    fn step(&mut self, byte: u8, here: usize) -> Result<Option<Mark>, Error> {
        match self.state {
            State::Value { .. } | State::Key { .. } | State::Colon | State::Comma
                if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') =>
            {
                Ok(None)
            }
            State::Value { or_end: true } if byte == b']' => Ok(self.close(here)),
            State::Value { .. } => self.value_begins(byte, here),
            State::Key { or_end: true } if byte == b'}' => Ok(self.close(here)),
            State::Key { .. } if byte == b'"' => {
                self.state = State::String { key: true };
                Ok(self
                    .shown()
                    .then_some(Mark::KeyBegins(here, self.open.count)))
            }
            State::Key { .. } => Err(Error::malformed("no key where one must be")),
            State::Colon if byte == b':' => {
                self.state = State::Value { or_end: false };
                Ok(None)
            }
            State::Colon => Err(Error::malformed("no colon behind a key")),
            State::Comma => match (byte, self.open.last()) {
                (b',', Some(true)) => {
                    self.state = State::Key { or_end: false };
                    Ok(None)
                }
                (b',', Some(false)) => {
                    self.state = State::Value { or_end: false };
                    Ok(None)
                }
                (b'}', Some(true)) | (b']', Some(false)) => Ok(self.close(here)),
                (_, None) => Err(Error::malformed("something behind the end")),
                _ => Err(Error::malformed("no comma between two values")),
            },
            State::Escape { key } => {
                self.state = match byte {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => State::String { key },
                    b'u' => State::Unicode { key, left: 4 },
                    _ => return Err(Error::malformed("an unknown escape")),
                };
                Ok(None)
            }
            State::Unicode { key, left } => {
                if !byte.is_ascii_hexdigit() {
                    return Err(Error::malformed("an unknown escape"));
                }
                self.state = if left == 1 {
                    State::String { key }
                } else {
                    State::Unicode {
                        key,
                        left: left - 1,
                    }
                };
                Ok(None)
            }
            State::Literal { rest } => match rest.split_first() {
                Some((expected, rest)) if *expected == byte => {
                    if rest.is_empty() {
                        return Ok(self.value_ends(here + 1));
                    }
                    self.state = State::Literal { rest };
                    Ok(None)
                }
                _ => Err(Error::malformed("an unknown word")),
            },
            // Scanned by the run in `next`.
            State::String { .. } | State::Number(_) => Ok(None),
        }
    }

    #[inline(always)]
    fn value_begins(&mut self, byte: u8, here: usize) -> Result<Option<Mark>, Error> {
        let mark = self.shown().then_some(Mark::Begins(here, self.open.count));
        self.state = match byte {
            b'"' => State::String { key: false },
            b'{' => {
                self.open.push(true)?;
                State::Key { or_end: true }
            }
            b'[' => {
                self.open.push(false)?;
                State::Value { or_end: true }
            }
            b't' => State::Literal { rest: b"rue" },
            b'f' => State::Literal { rest: b"alse" },
            b'n' => State::Literal { rest: b"ull" },
            b'-' => State::Number(Number::Minus),
            b'0' => State::Number(Number::Zero),
            b'1'..=b'9' => State::Number(Number::Digits),
            _ => return Err(Error::malformed("no value where one must be")),
        };
        Ok(mark)
    }

    #[inline(always)]
    fn string_ends(&mut self, key: bool, after: usize) -> Option<Mark> {
        if key {
            self.state = State::Colon;
            self.shown()
                .then_some(Mark::KeyEnds(after, self.open.count))
        } else {
            self.value_ends(after)
        }
    }

    #[inline(always)]
    fn close(&mut self, here: usize) -> Option<Mark> {
        self.open.count = self.open.count.saturating_sub(1);
        self.value_ends(here + 1)
    }

    #[inline(always)]
    fn value_ends(&mut self, after: usize) -> Option<Mark> {
        self.state = State::Comma;
        self.shown().then_some(Mark::Ends(after, self.open.count))
    }

    #[inline(always)]
    fn shown(&self) -> bool {
        self.open.count <= self.depth
    }
}

/// How many bytes `bytes` begin with that are a string's own: up to a quote, a backslash or a control character.
fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    // In a word the lowest byte that is below `n` has its highest bit set here, and so may have what is above it.
    let below = |word: u64, n: u64| word.wrapping_sub(ONES * n) & !word & HIGH;
    let mut at = 0;
    while let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        let word = u64::from_le_bytes(*word);
        let quote = below(word ^ (ONES * u64::from(b'"')), 1);
        let escape = below(word ^ (ONES * u64::from(b'\\')), 1);
        let stop = quote | escape | below(word, 0x20);
        if stop != 0 {
            return at + stop.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    let stop = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
    at + rest.iter().position(stop).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All marks of a text fed in pieces, with places in the whole.
    fn marks(pieces: &[&[u8]]) -> Result<Vec<Mark>, Error> {
        let mut scanner = Scanner::new(9);
        let mut marks = Vec::new();
        let mut before = 0;
        for piece in pieces {
            let mut at = 0;
            while let Some(mark) = scanner.next(piece, &mut at)? {
                marks.push(match mark {
                    Mark::KeyBegins(at, depth) => Mark::KeyBegins(before + at, depth),
                    Mark::KeyEnds(at, depth) => Mark::KeyEnds(before + at, depth),
                    Mark::Begins(at, depth) => Mark::Begins(before + at, depth),
                    Mark::Ends(at, depth) => Mark::Ends(before + at, depth),
                });
            }
            before += piece.len();
        }
        if scanner.is_outside() {
            Ok(marks)
        } else {
            Err(Error::Truncated)
        }
    }

    #[test]
    fn a_strings_own_bytes_are_told_from_all_others_at_every_place() {
        for length in 0..=24 {
            for byte in 0..=0xff {
                let mut text = vec![b'!'; length];
                text.push(byte);
                let stops = matches!(byte, b'"' | b'\\' | 0..=0x1f);
                assert_eq!(
                    plain(&text),
                    length + usize::from(!stops),
                    "{length} {byte}"
                );
                // What stands behind the first one does not matter, whatever it is.
                for behind in [0, b'"', 0x80, 0xff] {
                    text.extend([behind; 9]);
                    assert!(!stops || plain(&text) == length, "{length} {byte} {behind}");
                    text.truncate(length + 1);
                }
            }
        }
    }

    #[test]
    fn any_chunking_gives_the_same_marks() {
        let text = br#" {"a":[1,-2.5e+3,"x\"\u00e9\\",true,null,{}],"b\n":{"c":[]},"d":0} "#;
        let whole = marks(&[text]).expect("it is JSON");
        assert_eq!(whole.len(), 2 * (4 + 11), "four keys, eleven values");
        for at in 0..=text.len() {
            assert_eq!(
                marks(&[&text[..at], &text[at..]]).as_ref(),
                Ok(&whole),
                "split at {at}"
            );
        }
        assert_eq!(marks(&text.chunks(1).collect::<Vec<_>>()), Ok(whole));
    }

    #[test]
    fn what_is_no_json_is_refused_and_what_is_cut_is_not_whole() {
        for text in [
            "{",
            "[1",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1",
            "\"a",
            "tru",
            "[1,",
            "{\"a\":1,",
        ] {
            assert_eq!(marks(&[text.as_bytes()]), Err(Error::Truncated), "{text}");
        }
        for text in [
            "{]",
            "[}",
            "[1}",
            "{\"a\":1]",
            "{1:2}",
            "{\"a\" 1}",
            "[1 2]",
            "[,1]",
            "[1,]",
            "{,}",
            "{\"a\":1,}",
            "01 ",
            "1.",
            "1. ",
            "1e ",
            "- ",
            "+1",
            ".5",
            "tru ",
            "nul}",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\n\"",
            "{} {}",
            "[]]",
            "'a'",
            "\u{feff}{}",
        ] {
            let result = marks(&[text.as_bytes(), b" "]);
            assert!(
                matches!(result, Err(Error::Malformed { .. })),
                "{text}: {result:?}"
            );
        }
    }

    #[test]
    fn depth_is_bounded() {
        let text = "[".repeat(DEPTH_LIMIT + 1);
        assert_eq!(marks(&[text.as_bytes()]), Err(Error::TooDeep));
        let deep = "[".repeat(DEPTH_LIMIT) + &"]".repeat(DEPTH_LIMIT);
        assert!(marks(&[deep.as_bytes()]).is_ok());
    }

    #[test]
    fn members_are_cut_out_as_they_stand() {
        let object = br#"{ "a" : {"x":[1,2]} ,"b":"c\"d", "e":-1 }"#;
        let all: Vec<_> = members(object).map(|pair| pair.expect("whole")).collect();
        let expected: Vec<(&[u8], &[u8])> = vec![
            (b"a", br#"{"x":[1,2]}"#),
            (b"b", br#""c\"d""#),
            (b"e", b"-1"),
        ];
        assert_eq!(all, expected);
        assert!(members(b"[1]").next().is_some_and(|first| first.is_err()));
        assert_eq!(members(b"{\"a\":1").last(), Some(Err(Error::Truncated)));
    }

    #[test]
    fn elements_are_cut_out_as_they_stand() {
        let of = |bytes| -> Result<Vec<&[u8]>, Error> { elements(bytes).collect() };
        assert_eq!(
            of(b"[ 1, {\"a\":[2]} ,[3,4],\"],\"]"),
            Ok(vec![&b"1"[..], b"{\"a\":[2]}", b"[3,4]", b"\"],\""])
        );
        assert_eq!(of(b"[]"), Ok(Vec::new()));
        for bad in [&b"{}"[..], b"null", b"[1", b"[1,]", b""] {
            assert!(of(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn strings_are_unescaped_or_refused() {
        for (json, plain) in [
            (r#""""#, Some("")),
            (r#""plain é""#, Some("plain é")),
            (r#""\"\\\/\b\f\n\r\t""#, Some("\"\\/\u{8}\u{c}\n\r\t")),
            (r#""\u0041\u00e9\ud83d\ude00""#, Some("Aé😀")),
            (r#""\ud83d""#, None),
            (r#""\ud83d\u0041""#, None),
            (r#""\ude00""#, None),
            ("1", None),
            ("\"a", None),
        ] {
            assert_eq!(text(json.as_bytes()).as_deref(), plain, "{json}");
        }
        assert_eq!(text(b"\"\xff\""), None);
    }

    #[test]
    fn what_is_taken_is_what_serde_takes() {
        // Mutations of a real object, by a fixed generator: accepted here means accepted there.
        let object = include_bytes!("../../tests/golden/get_pod_json.body");
        let mut seed = 0x2545_f491u32;
        let mut random = move || {
            seed ^= seed << 13;
            seed ^= seed >> 17;
            seed ^= seed << 5;
            seed as usize
        };
        for _ in 0..3_000 {
            let mut mutated = object.to_vec();
            for _ in 0..1 + random() % 3 {
                let at = random() % mutated.len();
                match random() % 3 {
                    0 => mutated[at] = b"{}[]\",:0\\ etn-"[random() % 14],
                    1 => drop(mutated.remove(at)),
                    _ => mutated.insert(at, b"{}[]\",:0\\ etn-"[random() % 14]),
                }
            }
            let ours = marks(&[&mutated]).is_ok();
            let theirs = serde_json::from_slice::<serde_json::Value>(&mutated).is_ok();
            // serde refuses lone surrogates and what is no UTF-8, which a scanner of spans has no need to.
            assert!(
                ours == theirs || ours && mutated.windows(2).any(|pair| pair == b"\\u"),
                "{}",
                String::from_utf8_lossy(&mutated)
            );
        }
    }
}
