//! Protobuf, as far as Kubernetes' objects need it: the fields of a message as spans, and the envelope around an object.
//!
//! A message is taken as an ordered run of fields (kubernetes-wire 2.5): those that nobody asks for, unknown ones among
//! them, are never decoded and go out as they came. Groups (wire types 3 and 4), numbers that do not fit and lengths past the
//! end are refused; Kubernetes has none. Nothing recurses but along a path of known length.
//!
//! A single object or a list is four bytes of magic and a `runtime.Unknown` message (kubernetes-wire 2.3): its type, its
//! bytes, and two texts that Kubernetes writes empty. Items of lists are bare messages.

use crate::wire::error::Error;

pub mod endpointslice;
pub mod list;
pub mod object;
pub mod status;
pub mod watch;

/// The first bytes of every object or list that stands alone.
pub const MAGIC: [u8; 4] = *b"k8s\0";

/// The longest varint: 64 bits, seven to a byte.
pub(crate) const VARINT_MAX: usize = 10;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A number, a truth value or an enumeration.
    Varint(u64),
    /// Eight or four bytes, little endian.
    Fixed(&'a [u8]),
    /// A text, bytes, or a message.
    Bytes(&'a [u8]),
}

/// One field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its number, 1 to 2^29 - 1.
    pub number: u32,
    /// What it holds.
    pub value: Value<'a>,
    /// All of it, number and length included.
    pub span: &'a [u8],
}

impl<'a> Field<'a> {
    /// Its bytes; `None` when it holds a number.
    pub fn bytes(&self) -> Option<&'a [u8]> {
        match self.value {
            Value::Bytes(bytes) => Some(bytes),
            Value::Varint(_) | Value::Fixed(_) => None,
        }
    }

    /// Its text; `None` when it is none.
    pub fn text(&self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }
}

/// The fields of a message, in their order. Ends behind the first error.
pub fn fields(message: &[u8]) -> Fields<'_> {
    Fields { rest: message }
}

/// See [`fields`].
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Result<Field<'a>, Error> {
        let start = self.rest;
        let head = head(start)?.ok_or(Error::Truncated)?;
        let value = match head.kind {
            Kind::Varint => {
                let (number, len) = varint(after(start, head.len)?)?.ok_or(Error::Truncated)?;
                self.rest = after(start, head.len + len)?;
                Value::Varint(number)
            }
            Kind::Fixed(len) => Value::Fixed(self.take(start, head.len, len)?),
            Kind::Bytes(len) => {
                let len = usize::try_from(len).map_err(|_| Error::Truncated)?;
                Value::Bytes(self.take(start, head.len, len)?)
            }
        };
        let len = start.len() - self.rest.len();
        Ok(Field {
            number: head.number,
            value,
            span: start.get(..len).unwrap_or(start),
        })
    }

    fn take(&mut self, start: &'a [u8], head: usize, len: usize) -> Result<&'a [u8], Error> {
        let (value, rest) = after(start, head)?
            .split_at_checked(len)
            .ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(value)
    }
}

fn after(bytes: &[u8], count: usize) -> Result<&[u8], Error> {
    bytes.get(count..).ok_or(Error::Truncated)
}

/// How a field begins.
#[derive(Clone, Copy)]
pub(crate) struct FieldHead {
    pub(crate) number: u32,
    pub(crate) kind: Kind,
    /// How many bytes that took; of bytes, their length included.
    pub(crate) len: usize,
}

/// What follows a field's head.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Varint,
    /// So many bytes.
    Fixed(usize),
    /// So many bytes.
    Bytes(u64),
}

/// Reads how a field begins; `None` when more bytes are needed.
pub(crate) fn head(bytes: &[u8]) -> Result<Option<FieldHead>, Error> {
    let Some((tag, len)) = varint(bytes)? else {
        return Ok(None);
    };
    let number = u32::try_from(tag >> 3)
        .ok()
        .filter(|number| (1..1 << 29).contains(number))
        .ok_or(Error::malformed("a protobuf field without a number"))?;
    let (kind, len) = match tag & 7 {
        0 => (Kind::Varint, len),
        1 => (Kind::Fixed(8), len),
        5 => (Kind::Fixed(4), len),
        2 => match varint(after(bytes, len)?)? {
            Some((size, more)) => (Kind::Bytes(size), len + more),
            None => return Ok(None),
        },
        _ => {
            return Err(Error::malformed(
                "a protobuf field of a kind that Kubernetes does not use",
            ));
        }
    };
    Ok(Some(FieldHead { number, kind, len }))
}

/// Reads a number and how many bytes it took; `None` when more bytes are needed.
pub(crate) fn varint(bytes: &[u8]) -> Result<Option<(u64, usize)>, Error> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(VARINT_MAX).enumerate() {
        let part = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit.
        if at + 1 == VARINT_MAX && part > 1 {
            break;
        }
        value |= part << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((value, at + 1)));
        }
        if at + 1 == VARINT_MAX {
            break;
        }
    }
    if bytes.len() < VARINT_MAX {
        return Ok(None);
    }
    Err(Error::malformed("a protobuf number of more than 64 bits"))
}

/// Appends a number.
pub(crate) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// How many bytes a number takes.
pub(crate) fn varint_len(value: u64) -> usize {
    // Seven bits to a byte, and one byte for 0.
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Appends the head of a field of `len` bytes: more than a 32-bit machine can hold, where it is a list.
pub(crate) fn put_head(number: u32, len: u64, out: &mut Vec<u8>) {
    put_varint(u64::from(number) << 3 | 2, out);
    put_varint(len, out);
}

/// Appends a field of bytes, a text or a message.
pub(crate) fn put_bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    put_head(number, bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Appends a field that is a number.
pub(crate) fn put_number(number: u32, value: u64, out: &mut Vec<u8>) {
    put_varint(u64::from(number) << 3, out);
    put_varint(value, out);
}

/// How long a field of `len` bytes is, number and length included.
pub(crate) fn field_len(number: u32, len: usize) -> usize {
    varint_len(u64::from(number) << 3) + varint_len(len as u64) + len
}

/// The field that `path` leads to, through messages; of several of one number the last counts, as protobuf has it.
pub fn find<'a>(message: &'a [u8], path: &[u32]) -> Result<Option<Value<'a>>, Error> {
    let Some((number, rest)) = path.split_first() else {
        return Ok(None);
    };
    let mut found = None;
    for field in fields(message) {
        let field = field?;
        if field.number == *number {
            found = Some(field.value);
        }
    }
    match found {
        Some(Value::Bytes(bytes)) if !rest.is_empty() => find(bytes, rest),
        Some(_) if !rest.is_empty() => Ok(None),
        found => Ok(found),
    }
}

/// An object or a list that stands alone, its envelope opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unknown<'a> {
    /// `apiVersion`
    pub api_version: &'a str,
    /// `kind`
    pub kind: &'a str,
    /// The message itself.
    pub raw: &'a [u8],
}

/// Opens the envelope of an object that stands alone.
pub fn open(bytes: &[u8]) -> Result<Unknown<'_>, Error> {
    let message = bytes
        .strip_prefix(&MAGIC)
        .ok_or(Error::malformed("protobuf without Kubernetes' magic"))?;
    let mut unknown = Unknown {
        api_version: "",
        kind: "",
        raw: &[],
    };
    for field in fields(message) {
        let field = field?;
        match (field.number, field.bytes()) {
            (1, Some(type_meta)) => (unknown.api_version, unknown.kind) = type_of(type_meta)?,
            (2, Some(raw)) => unknown.raw = raw,
            (3, Some(encoding)) if !encoding.is_empty() => {
                return Err(Error::malformed("an object that is packed once more"));
            }
            _ => {}
        }
    }
    Ok(unknown)
}

/// `apiVersion` and `kind` of a `TypeMeta` message.
pub(crate) fn type_of(type_meta: &[u8]) -> Result<(&str, &str), Error> {
    let (mut api_version, mut kind) = ("", "");
    for field in fields(type_meta) {
        let field = field?;
        match (field.number, field.text()) {
            (1, Some(text)) => api_version = text,
            (2, Some(text)) => kind = text,
            _ => {}
        }
    }
    Ok((api_version, kind))
}

/// Appends an object that stands alone, in the bytes that the API server would send.
pub fn wrap(api_version: &str, kind: &str, raw: &[u8], out: &mut Vec<u8>) {
    out.reserve(wrapped_len(api_version, kind, raw.len()));
    wrap_head(api_version, kind, raw.len() as u64, out);
    out.extend_from_slice(raw);
    out.extend_from_slice(&WRAP_TAIL);
}

/// What follows the object: contentEncoding and contentType, empty.
pub(crate) const WRAP_TAIL: [u8; 4] = [0x1a, 0, 0x22, 0];

/// Appends all before the object's own bytes.
pub(crate) fn wrap_head(api_version: &str, kind: &str, len: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&MAGIC);
    put_head(1, type_meta_len(api_version, kind) as u64, out);
    put_bytes(1, api_version.as_bytes(), out);
    put_bytes(2, kind.as_bytes(), out);
    put_head(2, len, out);
}

fn type_meta_len(api_version: &str, kind: &str) -> usize {
    field_len(1, api_version.len()) + field_len(2, kind.len())
}

/// How long an object of `len` bytes is with its envelope.
pub(crate) fn wrapped_len(api_version: &str, kind: &str, len: usize) -> usize {
    MAGIC.len()
        + field_len(1, type_meta_len(api_version, kind))
        + field_len(2, len)
        + WRAP_TAIL.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_are_written() {
        for value in [
            0,
            1,
            127,
            128,
            300,
            16_383,
            16_384,
            u64::from(u32::MAX),
            u64::MAX,
        ] {
            let mut out = Vec::new();
            put_varint(value, &mut out);
            assert_eq!(out.len(), varint_len(value), "{value}");
            assert_eq!(varint(&out), Ok(Some((value, out.len()))), "{value}");
            for short in 0..out.len() {
                assert_eq!(varint(&out[..short]), Ok(None), "{value} cut at {short}");
            }
        }
        let eleven = [0xff; 11];
        assert!(varint(&eleven).is_err());
        // Seventy bits in ten bytes.
        assert!(varint(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]).is_err());
        // Longer than it need be, and legal.
        assert_eq!(varint(&[0x81, 0x00]), Ok(Some((1, 2))));
    }

    #[test]
    fn fields_are_cut_out_as_they_stand() {
        let mut message = Vec::new();
        put_bytes(1, b"one", &mut message);
        put_number(2, 300, &mut message);
        message.extend_from_slice(&[0x19, 1, 2, 3, 4, 5, 6, 7, 8, 0x25, 1, 2, 3, 4]);
        put_bytes(5000, b"unknown", &mut message);
        let found: Result<Vec<_>, _> = fields(&message).collect();
        let found = found.expect("a message");
        let numbers: Vec<u32> = found.iter().map(|field| field.number).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5000]);
        assert_eq!(found[0].text(), Some("one"));
        assert_eq!(found[1].value, Value::Varint(300));
        assert_eq!(found[3].value, Value::Fixed(&[1, 2, 3, 4]));
        let again: Vec<u8> = found.iter().flat_map(|field| field.span).copied().collect();
        assert_eq!(again, message);
        for end in 0..message.len() {
            let all: Result<Vec<_>, _> = fields(&message[..end]).collect();
            let whole = found.iter().scan(0, |at, field| {
                *at += field.span.len();
                Some(*at)
            });
            assert_eq!(
                all.is_ok(),
                end == 0 || whole.into_iter().any(|at| at == end)
            );
        }
    }

    #[test]
    fn what_kubernetes_does_not_write_is_refused() {
        for bad in [
            &[0x0b][..],                                    // a group starts
            &[0x0c],                                        // a group ends
            &[0x00, 0x00],                                  // number 0
            &[0x0a, 0x05, 1],                               // past the end
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], // far past the end
            &[0x0f],                                        // no wire type
        ] {
            let all: Result<Vec<_>, _> = fields(bad).collect();
            assert!(all.is_err(), "{bad:x?}");
        }
    }

    #[test]
    fn the_last_field_of_a_number_counts() {
        let mut inner = Vec::new();
        put_bytes(1, b"a", &mut inner);
        put_bytes(1, b"b", &mut inner);
        let mut message = Vec::new();
        put_bytes(3, &inner, &mut message);
        assert_eq!(find(&message, &[3, 1]), Ok(Some(Value::Bytes(b"b"))));
        assert_eq!(find(&message, &[3, 2]), Ok(None));
        assert_eq!(
            find(&message, &[3, 1, 1]),
            Err(Error::Truncated),
            "not a message"
        );
        assert_eq!(find(&message, &[]), Ok(None));
    }

    #[test]
    fn the_servers_objects_open_and_close_to_themselves() {
        for (name, bytes, kind) in [
            (
                "pod",
                &include_bytes!("../../tests/golden/get_pod_protobuf.body")[..],
                "Pod",
            ),
            (
                "service",
                include_bytes!("../../tests/golden/get_service_protobuf.body"),
                "Service",
            ),
            (
                "status",
                include_bytes!("../../tests/golden/get_missing_protobuf.body"),
                "Status",
            ),
        ] {
            let unknown = open(bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!((unknown.api_version, unknown.kind), ("v1", kind), "{name}");
            let mut again = Vec::new();
            wrap(unknown.api_version, unknown.kind, unknown.raw, &mut again);
            assert_eq!(again, bytes, "{name}");
            assert_eq!(
                again.len(),
                wrapped_len(unknown.api_version, unknown.kind, unknown.raw.len())
            );
        }
    }
}
