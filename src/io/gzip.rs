//! Gzip (RFC 1952), decoded as it comes: concatenated members, bounded memory.

use std::fmt;

use flate2::Decompress;
use flate2::FlushDecompress;
use flate2::Status;

/// How much is inflated in one step.
const STEP: usize = 16 << 10;
/// The longest header that is taken: 10 bytes, and a name, a comment and an extra field that no API server sends.
const HEADER_LIMIT: usize = 4 << 10;

/// What is wrong with a gzip stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Not a gzip member.
    Header,
    /// The deflated data is damaged.
    Data,
    /// The checksum or the length at a member's end is not that of its data.
    Checksum,
    /// The stream ended inside a member.
    Truncated,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "not a gzip member",
            Self::Data => "damaged deflate data",
            Self::Checksum => "wrong gzip checksum",
            Self::Truncated => "gzip stream cut short",
        })
    }
}

impl std::error::Error for Error {}

/// A streaming decoder.
pub struct Gunzip {
    state: State,
    /// Bytes of a header or trailer that is not whole yet.
    pending: Vec<u8>,
    inflate: Decompress,
    checksum: flate2::Crc,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Header,
    Data,
    Trailer,
}

impl Default for Gunzip {
    fn default() -> Self {
        Self::new()
    }
}

impl Gunzip {
    /// A decoder at the start of a stream.
    pub fn new() -> Self {
        Self {
            state: State::Header,
            pending: Vec::new(),
            inflate: Decompress::new(false),
            checksum: flate2::Crc::new(),
        }
    }

    /// Decodes some of `input`, appends what comes of it to `output`, and returns how much of the input was used. At most
    /// 16 KiB are appended a call, or as much as `output` has room for if that is more, however well the input was
    /// packed; call again with the rest until all is used.
    pub fn step(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<usize, Error> {
        match self.state {
            State::Header => {
                let before = self.pending.len();
                let taken = input.len().min(HEADER_LIMIT - before);
                self.pending.extend_from_slice(&input[..taken]);
                match header_length(&self.pending)? {
                    Some(length) => {
                        self.pending.clear();
                        self.state = State::Data;
                        self.inflate.reset(false);
                        self.checksum.reset();
                        // A header that was whole before this input would have been taken then.
                        Ok(length.saturating_sub(before))
                    }
                    None if self.pending.len() == HEADER_LIMIT => Err(Error::Header),
                    None => Ok(taken),
                }
            }
            State::Data => {
                let start = output.len();
                output.reserve_exact(STEP);
                let before = self.inflate.total_in();
                // Appends within the capacity only.
                let status = self
                    .inflate
                    .decompress_vec(input, output, FlushDecompress::None)
                    .map_err(|_| Error::Data)?;
                self.checksum.update(&output[start..]);
                let used =
                    usize::try_from(self.inflate.total_in() - before).map_err(|_| Error::Data)?;
                if status == Status::StreamEnd {
                    self.state = State::Trailer;
                } else if used == 0 && output.len() == start && !input.is_empty() {
                    return Err(Error::Data);
                }
                Ok(used)
            }
            State::Trailer => {
                let used = input.len().min(8 - self.pending.len());
                self.pending.extend_from_slice(&input[..used]);
                if let [a, b, c, d, e, f, g, h] = self.pending[..] {
                    let right = u32::from_le_bytes([a, b, c, d]) == self.checksum.sum()
                        && u32::from_le_bytes([e, f, g, h]) == self.checksum.amount();
                    if !right {
                        return Err(Error::Checksum);
                    }
                    self.pending.clear();
                    self.state = State::Header;
                }
                Ok(used)
            }
        }
    }

    /// An error if the stream has ended inside a member.
    pub fn finish(&self) -> Result<(), Error> {
        if self.state == State::Header && self.pending.is_empty() {
            Ok(())
        } else {
            Err(Error::Truncated)
        }
    }
}

/// The length of the member header that `bytes` begin with, `None` while it is not whole.
fn header_length(bytes: &[u8]) -> Result<Option<usize>, Error> {
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;
    const CHECKSUM: u8 = 2;
    let magic = [0x1f, 0x8b, 8];
    if bytes.iter().zip(magic).any(|(byte, magic)| *byte != magic) {
        return Err(Error::Header);
    }
    let Some(flags) = bytes.get(3) else {
        return Ok(None);
    };
    let mut length = 10;
    if flags & EXTRA != 0 {
        let Some([low, high]) = bytes.get(length..length + 2) else {
            return Ok(None);
        };
        length += 2 + usize::from(u16::from_le_bytes([*low, *high]));
    }
    for flag in [NAME, COMMENT] {
        if flags & flag != 0 {
            let Some(end) = bytes
                .get(length..)
                .and_then(|rest| rest.iter().position(|byte| *byte == 0))
            else {
                return Ok(None);
            };
            length += end + 1;
        }
    }
    if flags & CHECKSUM != 0 {
        length += 2;
    }
    Ok((bytes.len() >= length).then_some(length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn member(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).expect("a vector takes all");
        encoder.finish().expect("a vector takes all")
    }

    fn inflate(pieces: &[&[u8]]) -> Result<Vec<u8>, Error> {
        let mut gunzip = Gunzip::new();
        let mut out = Vec::new();
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() {
                let before = out.len();
                let used = gunzip.step(rest, &mut out)?;
                assert!(out.len() - before <= 2 * STEP, "one step is bounded");
                rest = &rest[used..];
            }
        }
        gunzip.finish().map(|()| out)
    }

    #[test]
    fn members_one_behind_the_other_are_one_text_at_every_split() {
        let packed = [member(b"one list, "), member(b""), member(&[b'x'; 70_000])].concat();
        let plain = [&b"one list, "[..], &[b'x'; 70_000]].concat();
        for at in 0..=packed.len() {
            assert_eq!(
                inflate(&[&packed[..at], &packed[at..]]).as_ref(),
                Ok(&plain),
                "split at {at}"
            );
        }
        let bytes: Vec<&[u8]> = packed.chunks(1).collect();
        assert_eq!(inflate(&bytes), Ok(plain));
    }

    #[test]
    fn a_stream_that_ends_early_is_never_taken_for_whole() {
        let packed = member(b"a list that is not a short one, is it? it is not");
        for at in 1..packed.len() {
            assert_eq!(
                inflate(&[&packed[..at]]),
                Err(Error::Truncated),
                "cut at {at}"
            );
        }
    }

    #[test]
    fn damage_is_found() {
        let packed = member(b"a list that is not a short one, is it? it is not");
        let mut wrong = packed.clone();
        let last = wrong.len() - 5;
        wrong[last] ^= 1;
        assert_eq!(inflate(&[&wrong]), Err(Error::Checksum));
        assert_eq!(inflate(&[b"plain text"]), Err(Error::Header));
        for at in 10..packed.len() - 8 {
            let mut wrong = packed.clone();
            wrong[at] ^= 0x55;
            assert!(inflate(&[&wrong]).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_header_is_as_long_as_is_taken_and_no_longer_however_it_comes() {
        let packed = member(b"a list");
        for (length, taken) in [(HEADER_LIMIT, true), (HEADER_LIMIT + 1, false)] {
            let mut named = packed[..10].to_vec();
            named[3] = 8;
            named.resize(length - 1, b'n');
            named.push(0);
            named.extend_from_slice(&packed[10..]);
            let expected = if taken {
                Ok(b"a list".to_vec())
            } else {
                Err(Error::Header)
            };
            for size in [1, 1000, named.len()] {
                let pieces: Vec<&[u8]> = named.chunks(size).collect();
                assert_eq!(inflate(&pieces), expected, "{length} in pieces of {size}");
            }
        }
    }
}
