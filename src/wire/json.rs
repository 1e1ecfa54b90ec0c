//! A JSON scanner that takes any chunking and reports where things begin and end.
//!
//! It builds no tree and copies nothing: decoders keep the bytes and cut spans out of them. It is strict (RFC 8259), does not
//! recurse, and is bounded in depth; how much is kept is the decoder's bound.

use std::borrow::Cow;

use crate::wire::error::Error;

pub mod endpointslice;
pub mod list;
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

/// The scanner: where it is in the grammar.
#[derive(Clone, Debug)]
pub struct Scanner {
    /// Open containers, true for objects.
    stack: Vec<bool>,
    state: State,
    /// Marks inside more containers than this are not reported.
    depth: usize,
    /// Bytes scanned in all.
    scanned: u64,
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
            stack: Vec::new(),
            state: State::Value { or_end: false },
            depth,
            scanned: 0,
        }
    }

    /// Whether nothing is open: no value has begun, or it has ended.
    pub fn is_outside(&self) -> bool {
        self.stack.is_empty() && matches!(self.state, State::Value { .. } | State::Comma)
    }

    /// Takes what follows a value that has ended for the start of another one, as in a stream of values.
    pub fn again(&mut self) {
        debug_assert!(self.is_outside());
        self.state = State::Value { or_end: false };
    }

    fn wrong(&self, what: &'static str) -> Error {
        Error::Malformed {
            at: self.scanned,
            what,
        }
    }

    /// Scans `bytes` from `*at` on, up to the next mark or to the end (`None`); moves `*at` behind what was scanned.
    pub fn next(&mut self, bytes: &[u8], at: &mut usize) -> Result<Option<Mark>, Error> {
        while let Some(byte) = bytes.get(*at).copied() {
            let here = *at;
            let mark = match self.state {
                State::String { key } => {
                    // Most bytes of most objects are here.
                    let rest = &bytes[here..];
                    let stop = rest
                        .iter()
                        .position(|b| matches!(b, b'"' | b'\\' | 0..=0x1f))
                        .unwrap_or(rest.len());
                    self.advance(at, stop);
                    match rest.get(stop) {
                        None => None,
                        Some(b'"') => {
                            self.advance(at, 1);
                            self.string_ends(key, *at)
                        }
                        Some(b'\\') => {
                            self.advance(at, 1);
                            self.state = State::Escape { key };
                            None
                        }
                        Some(_) => return Err(self.wrong("a control character in a string")),
                    }
                }
                State::Number(number) => match number.step(byte) {
                    Some(number) => {
                        self.advance(at, 1);
                        self.state = State::Number(number);
                        None
                    }
                    // The byte that ends a number is not the number's.
                    None if number.may_end() => self.value_ends(here),
                    None => return Err(self.wrong("a malformed number")),
                },
                _ => {
                    let mark = self.step(byte, here)?;
                    self.advance(at, 1);
                    mark
                }
            };
            if mark.is_some() {
                return Ok(mark);
            }
        }
        Ok(None)
    }

    fn advance(&mut self, at: &mut usize, count: usize) {
        *at += count;
        self.scanned += count as u64;
    }

    /// One byte outside strings and numbers.
    fn step(&mut self, byte: u8, here: usize) -> Result<Option<Mark>, Error> {
        let blank = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        match self.state {
            State::Value { .. } | State::Key { .. } | State::Colon | State::Comma if blank => {
                Ok(None)
            }
            State::Value { or_end: true } if byte == b']' => Ok(self.close(here)),
            State::Value { .. } => self.value_begins(byte, here),
            State::Key { or_end: true } if byte == b'}' => Ok(self.close(here)),
            State::Key { .. } if byte == b'"' => {
                self.state = State::String { key: true };
                Ok(self
                    .shown(self.stack.len())
                    .then_some(Mark::KeyBegins(here, self.stack.len())))
            }
            State::Key { .. } => Err(self.wrong("no key where one must be")),
            State::Colon if byte == b':' => {
                self.state = State::Value { or_end: false };
                Ok(None)
            }
            State::Colon => Err(self.wrong("no colon behind a key")),
            State::Comma => match (byte, self.stack.last()) {
                (b',', Some(true)) => {
                    self.state = State::Key { or_end: false };
                    Ok(None)
                }
                (b',', Some(false)) => {
                    self.state = State::Value { or_end: false };
                    Ok(None)
                }
                (b'}', Some(true)) | (b']', Some(false)) => Ok(self.close(here)),
                (_, None) => Err(self.wrong("something behind the end")),
                _ => Err(self.wrong("no comma between two values")),
            },
            State::Escape { key } => {
                self.state = match byte {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => State::String { key },
                    b'u' => State::Unicode { key, left: 4 },
                    _ => return Err(self.wrong("an unknown escape")),
                };
                Ok(None)
            }
            State::Unicode { key, left } => {
                if !byte.is_ascii_hexdigit() {
                    return Err(self.wrong("an unknown escape"));
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
                _ => Err(self.wrong("an unknown word")),
            },
            // Scanned by the run in `next`.
            State::String { .. } | State::Number(_) => Ok(None),
        }
    }

    fn value_begins(&mut self, byte: u8, here: usize) -> Result<Option<Mark>, Error> {
        let depth = self.stack.len();
        self.state = match byte {
            b'{' | b'[' => {
                if depth >= DEPTH_LIMIT {
                    return Err(Error::TooDeep);
                }
                self.stack.push(byte == b'{');
                if byte == b'{' {
                    State::Key { or_end: true }
                } else {
                    State::Value { or_end: true }
                }
            }
            b'"' => State::String { key: false },
            b't' => State::Literal { rest: b"rue" },
            b'f' => State::Literal { rest: b"alse" },
            b'n' => State::Literal { rest: b"ull" },
            b'-' => State::Number(Number::Minus),
            b'0' => State::Number(Number::Zero),
            b'1'..=b'9' => State::Number(Number::Digits),
            _ => return Err(self.wrong("no value where one must be")),
        };
        Ok(self.shown(depth).then_some(Mark::Begins(here, depth)))
    }

    fn string_ends(&mut self, key: bool, after: usize) -> Option<Mark> {
        if key {
            self.state = State::Colon;
            self.shown(self.stack.len())
                .then_some(Mark::KeyEnds(after, self.stack.len()))
        } else {
            self.value_ends(after)
        }
    }

    fn close(&mut self, here: usize) -> Option<Mark> {
        self.stack.pop();
        self.value_ends(here + 1)
    }

    fn value_ends(&mut self, after: usize) -> Option<Mark> {
        self.state = State::Comma;
        self.shown(self.stack.len())
            .then_some(Mark::Ends(after, self.stack.len()))
    }

    fn shown(&self, depth: usize) -> bool {
        depth <= self.depth
    }
}

/// The members of one whole object: key (between its quotes, as it stands) and value.
pub struct Members<'a> {
    bytes: &'a [u8],
    scanner: Scanner,
    at: usize,
    key: &'a [u8],
    begun: usize,
    failed: bool,
    opens: u8,
}

/// Goes through the members of the object that `bytes` begin with.
pub fn members(bytes: &[u8]) -> Members<'_> {
    opened(bytes, b'{')
}

/// Goes through the elements of the array that `bytes` begin with.
pub fn elements(bytes: &[u8]) -> impl Iterator<Item = Result<&[u8], Error>> {
    opened(bytes, b'[').map(|pair| pair.map(|(_, value)| value))
}

fn opened(bytes: &[u8], opens: u8) -> Members<'_> {
    Members {
        bytes,
        scanner: Scanner::new(1),
        at: 0,
        key: b"",
        begun: 0,
        failed: false,
        opens,
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        loop {
            match self.scanner.next(self.bytes, &mut self.at) {
                Ok(Some(Mark::Begins(here, 0))) if self.bytes.get(here) != Some(&self.opens) => {
                    self.failed = true;
                    return Some(Err(Error::malformed("not a JSON object or array")));
                }
                Ok(Some(Mark::KeyBegins(here, _) | Mark::Begins(here, 1))) => self.begun = here,
                Ok(Some(Mark::KeyEnds(after, _))) => {
                    self.key = &self.bytes[self.begun + 1..after - 1]
                }
                Ok(Some(Mark::Ends(after, 1))) => {
                    return Some(Ok((self.key, &self.bytes[self.begun..after])));
                }
                Ok(Some(Mark::Ends(..))) => {
                    self.failed = true;
                    return None;
                }
                Ok(Some(Mark::Begins(..))) => {}
                Ok(None) => {
                    self.failed = true;
                    return Some(Err(Error::Truncated));
                }
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

/// The value of one member of an object.
pub fn member<'a>(object: &'a [u8], name: &[u8]) -> Result<Option<&'a [u8]>, Error> {
    for pair in members(object) {
        let (key, value) = pair?;
        if key == name {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// The text of a string value, quotes included in `value`; `None` if it is no string, or not one of Unicode text.
pub fn text(value: &[u8]) -> Option<Cow<'_, str>> {
    let inner = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let plain = std::str::from_utf8(inner).ok()?;
    if !inner.contains(&b'\\') {
        return Some(Cow::Borrowed(plain));
    }
    let mut out = String::with_capacity(plain.len());
    let mut letters = plain.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            out.push(letter);
            continue;
        }
        out.push(match letters.next()? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let high = hex(&mut letters)?;
                if (0xd800..0xdc00).contains(&high) {
                    (letters.next()? == '\\' && letters.next()? == 'u').then_some(())?;
                    let low = hex(&mut letters)?
                        .checked_sub(0xdc00)
                        .filter(|low| *low < 0x400)?;
                    char::from_u32(0x10000 + ((high - 0xd800) << 10) + low)?
                } else {
                    char::from_u32(high)?
                }
            }
            same => same,
        });
    }
    Some(Cow::Owned(out))
}

fn hex(letters: &mut std::str::Chars<'_>) -> Option<u32> {
    (0..4).try_fold(0, |value, _| {
        Some(value << 4 | letters.next()?.to_digit(16)?)
    })
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
