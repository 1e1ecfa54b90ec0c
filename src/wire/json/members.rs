//! The members of an object whose bytes are all there, and the text of a value.

use std::borrow::Cow;

use crate::wire::error::Error;
use crate::wire::json::Mark;
use crate::wire::json::Scanner;

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

/// What begins with the value of one member of an object, and ends with `object`: what stands behind the value's first byte
/// has not been looked at.
pub fn from_member<'a>(object: &'a [u8], name: &[u8]) -> Result<Option<&'a [u8]>, Error> {
    let mut members = members(object);
    loop {
        match members.scanner.next(object, &mut members.at)? {
            Some(Mark::Begins(here, 0)) if object.get(here) != Some(&b'{') => {
                return Err(Error::malformed("not a JSON object or array"));
            }
            Some(Mark::KeyBegins(here, _)) => members.begun = here,
            Some(Mark::KeyEnds(after, _)) => members.key = &object[members.begun + 1..after - 1],
            Some(Mark::Begins(here, 1)) if members.key == name => return Ok(Some(&object[here..])),
            Some(Mark::Ends(_, 0)) => return Ok(None),
            Some(Mark::Begins(..) | Mark::Ends(..)) => {}
            None => return Err(Error::Truncated),
        }
    }
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

    #[test]
    fn the_value_of_a_member_is_found_before_it_is_read() {
        let object = br#" {"a":{"metadata":1},"metadata":{"name":"x",not read"#;
        let value = from_member(object, b"metadata").expect("so far it is JSON");
        assert_eq!(value, Some(&br#"{"name":"x",not read"#[..]));
        assert_eq!(from_member(br#"{"a":[]}"#, b"b"), Ok(None));
        assert_eq!(
            from_member(b"[1]", b"b"),
            Err(Error::malformed("not a JSON object or array"))
        );
        assert_eq!(from_member(br#"{"a":{"#, b"b"), Err(Error::Truncated));
    }
}
