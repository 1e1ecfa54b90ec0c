//! How an object is written.

/// One of the two encodings in which objects are mirrored, filtered and served. Nothing is ever turned from one into the
/// other: that would need every kind's schema and lose the fields that it does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Encoding {
    /// `application/json`
    #[default]
    Json,
    /// `application/vnd.kubernetes.protobuf`; only built-in kinds have it.
    Protobuf,
}

impl Encoding {
    /// The encoding of an object's bytes, which start with no blank. JSON starts with a brace, which no protobuf message can:
    /// it would be the start of a group. (A message that starts with its metadata starts with a newline, so blanks must not
    /// be skipped.)
    pub fn of(object: &[u8]) -> Self {
        match object.first() {
            Some(b'{') => Self::Json,
            _ => Self::Protobuf,
        }
    }

    /// The media type of an object or a list.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }

    /// The media type of a watch's answer.
    pub fn stream_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        }
    }

    /// The encoding that a `Content-Type` names, parameters aside; `None` for any other.
    pub fn named(content_type: &str) -> Option<Self> {
        let name = content_type.split(';').next().unwrap_or_default().trim();
        [Self::Json, Self::Protobuf]
            .into_iter()
            .find(|encoding| name.eq_ignore_ascii_case(encoding.media_type()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_tell_their_encoding() {
        assert_eq!(Encoding::of(b"{\"kind\":\"Pod\"}"), Encoding::Json);
        assert_eq!(Encoding::of(b"k8s\0\x0a"), Encoding::Protobuf);
        // Metadata of 123 bytes: 0x0a is a newline too, and 0x7b a brace.
        assert_eq!(Encoding::of(b"\x0a\x7b\x0a\x03"), Encoding::Protobuf);
    }

    #[test]
    fn content_types_name_it() {
        for (text, encoding) in [
            ("application/json", Some(Encoding::Json)),
            ("application/json; charset=utf-8", Some(Encoding::Json)),
            (
                "application/vnd.kubernetes.protobuf;stream=watch",
                Some(Encoding::Protobuf),
            ),
            ("application/yaml", None),
            ("", None),
        ] {
            assert_eq!(Encoding::named(text), encoding, "{text}");
        }
    }
}
