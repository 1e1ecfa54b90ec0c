//! Cryptography: SHA-256, for names that must not tell what they stand for, and the sealing of what must not be read on
//! flash.
//!
//! # What is sealed, as it stands on flash
//!
//! ```text
//! 12 bytes  nonce, random for each
//! n bytes   ciphertext, as long as the plaintext
//! 16 bytes  tag
//! ```
//!
//! The algorithm is ChaCha20-Poly1305 (RFC 8439), which is fast on processors that know nothing of AES. The tag also covers
//! what the caller says the sealed bytes are (the associated data), which is not stored: opened as anything else they are
//! refused. With random nonces a key may seal 2^32 times before two of them are equal with a chance of 2^-33; a flash that
//! is written once a second for a hundred years takes fewer.

use std::fmt;
use std::io;

use ring::aead;
use ring::digest;
use ring::rand::SecureRandom;
use ring::rand::SystemRandom;

/// Bytes of a key.
pub const KEY_LEN: usize = 32;

/// How many bytes longer than the plaintext the sealed form is.
pub const OVERHEAD: usize = aead::NONCE_LEN + TAG_LEN;
const TAG_LEN: usize = 16;

/// The SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    let digest = digest::digest(&digest::SHA256, bytes);
    for (to, from) in sum.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    sum
}

/// The SHA-256 of `bytes` in lower-case hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let nibbles = sha256(bytes).into_iter().flat_map(|b| [b >> 4, b & 15]);
    nibbles
        .map(|nibble| char::from(HEX[usize::from(nibble)]))
        .collect()
}

/// Fills `bytes` from the system's random source.
pub fn random(bytes: &mut [u8]) -> io::Result<()> {
    SystemRandom::new()
        .fill(bytes)
        .map_err(|_| io::Error::other("the system's random source failed"))
}

/// A key that seals and opens.
pub struct Key {
    key: aead::LessSafeKey,
    id: u64,
}

impl Key {
    /// The key of these bytes.
    pub fn new(bytes: &[u8; KEY_LEN]) -> Self {
        let sum = sha256(&[&b"toono seal key"[..], bytes].concat());
        let id = sum.first_chunk().copied().unwrap_or_default();
        let key = aead::UnboundKey::new(&aead::CHACHA20_POLY1305, bytes);
        Self {
            // Only a wrong length is refused.
            key: aead::LessSafeKey::new(key.expect("32 bytes are a key of this algorithm")),
            id: u64::from_le_bytes(id),
        }
    }

    /// Which key it is: 64 bits of a digest, which tell nothing else.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Seals `plain` as what `of` says it is. An error is the random source's.
    pub fn seal(&self, of: &[u8], plain: &[u8]) -> io::Result<Vec<u8>> {
        let mut nonce = [0; aead::NONCE_LEN];
        random(&mut nonce)?;
        let mut sealed = Vec::with_capacity(plain.len() + OVERHEAD);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        let (_, body) = sealed.split_at_mut(aead::NONCE_LEN);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, aead::Aad::from(of), body)
            .map_err(|_| io::Error::other("too long to be sealed"))?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// Opens what was sealed as what `of` says; `None` when it was not, was changed, or was sealed with another key.
    pub fn open(&self, of: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, body) = sealed.split_first_chunk::<{ aead::NONCE_LEN }>()?;
        let mut plain = body.to_vec();
        let nonce = aead::Nonce::assume_unique_for_key(*nonce);
        let opened = self
            .key
            .open_in_place(nonce, aead::Aad::from(of), &mut plain);
        let len = opened.ok()?.len();
        plain.truncate(len);
        Some(plain)
    }
}

impl fmt::Debug for Key {
    /// Never the key itself.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:016x})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_standards_own_example() {
        // FIPS 180-4, "abc".
        assert_eq!(
            sha256_hex(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn what_was_sealed_opens_as_what_it_is_and_as_nothing_else() {
        let key = Key::new(&[7; KEY_LEN]);
        for plain in [&b""[..], b"hunter2", &[b'x'; 100_000]] {
            let sealed = key.seal(b"a/b", plain).expect("random");
            assert_eq!(sealed.len(), plain.len() + OVERHEAD);
            assert_eq!(key.open(b"a/b", &sealed).as_deref(), Some(plain));
            assert_ne!(key.seal(b"a/b", plain).expect("random"), sealed);
            assert_eq!(key.open(b"a/c", &sealed), None);
            assert_eq!(Key::new(&[8; KEY_LEN]).open(b"a/b", &sealed), None);
        }
        let sealed = key.seal(b"a/b", b"hunter2").expect("random");
        assert!(!sealed.windows(7).any(|part| part == b"hunter2"));
        for at in 0..sealed.len() {
            assert_eq!(key.open(b"a/b", &sealed[..at]), None);
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(key.open(b"a/b", &changed), None);
        }
    }

    #[test]
    fn opens_the_standards_own_example() {
        // RFC 8439, 2.8.2.
        let mut bytes = [0; KEY_LEN];
        for (at, byte) in (0x80..).zip(bytes.iter_mut()) {
            *byte = at;
        }
        let of = b"\x50\x51\x52\x53\xc0\xc1\xc2\xc3\xc4\xc5\xc6\xc7";
        let nonce = b"\x07\0\0\0\x40\x41\x42\x43\x44\x45\x46\x47";
        let text = b"\xd3\x1a\x8d\x34\x64\x8e\x60\xdb\x7b\x86\xaf\xbc\x53\xef\x7e\xc2\xa4\xad\xed\x51\x29\x6e\x08\xfe\xa9\xe2\
            \xb5\xa7\x36\xee\x62\xd6\x3d\xbe\xa4\x5e\x8c\xa9\x67\x12\x82\xfa\xfb\x69\xda\x92\x72\x8b\x1a\x71\xde\x0a\x9e\x06\x0b\
            \x29\x05\xd6\xa5\xb6\x7e\xcd\x3b\x36\x92\xdd\xbd\x7f\x2d\x77\x8b\x8c\x98\x03\xae\xe3\x28\x09\x1b\x58\xfa\xb3\x24\xe4\
            \xfa\xd6\x75\x94\x55\x85\x80\x8b\x48\x31\xd7\xbc\x3f\xf4\xde\xf0\x8e\x4b\x7a\x9d\xe5\x76\xd2\x65\x86\xce\xc6\x4b\x61\
            \x16";
        let tag = b"\x1a\xe1\x0b\x59\x4f\x09\xe2\x6a\x7e\x90\x2e\xcb\xd0\x60\x06\x91";
        let sealed = [&nonce[..], text, tag].concat();
        let plain = Key::new(&bytes).open(of, &sealed).expect("the example");
        assert!(plain.starts_with(b"Ladies and Gentlemen of the class of '99"));
        assert!(!format!("{:?}", Key::new(&bytes)).contains("128"));
    }
}
