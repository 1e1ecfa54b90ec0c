//! What every object has: a key within its resource, and a version.

use std::fmt;

/// A resource version. Kubernetes 1.35 and later promise that versions of one resource type are decimal integers that
/// only grow (KEP-5504), and earlier API servers behave so. Versions of different resource types cannot be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceVersion(pub u64);

impl ResourceVersion {
    /// Reads a version as it stands in `metadata.resourceVersion`: digits only, no sign, at most `u64::MAX`.
    pub fn parse(text: &str) -> Option<Self> {
        (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()))
            .then(|| text.parse().ok().map(Self))
            .flatten()
    }
}

impl fmt::Display for ResourceVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The key of an object within its resource: `NAMESPACE/NAME`, or `/NAME` for a cluster-scoped one. Keys sort as the
/// API server's lists do.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey(Box<str>);

impl ObjectKey {
    /// The key of `name` in `namespace` (empty: cluster-scoped).
    pub fn new(namespace: &str, name: &str) -> Self {
        Self(format!("{namespace}/{name}").into())
    }

    /// Takes a key as [`as_str`](Self::as_str) gave it; `None` without a slash.
    pub fn parse(text: &str) -> Option<Self> {
        text.as_bytes().contains(&b'/').then(|| Self(text.into()))
    }

    /// `NAMESPACE/NAME`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The namespace, empty for a cluster-scoped object.
    pub fn namespace(&self) -> &str {
        self.parts().map_or("", |(namespace, _)| namespace)
    }

    /// The object's name.
    pub fn name(&self) -> &str {
        self.parts().map_or(&self.0, |(_, name)| name)
    }

    fn parts(&self) -> Option<(&str, &str)> {
        // As bytes: keys are short, and objects are read by the thousand.
        let slash = self.0.as_bytes().iter().position(|byte| *byte == b'/')?;
        Some((self.0.get(..slash)?, self.0.get(slash + 1..)?))
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_plain_decimal_integers() {
        assert_eq!(ResourceVersion::parse("0"), Some(ResourceVersion(0)));
        assert_eq!(
            ResourceVersion::parse("18446744073709551615"),
            Some(ResourceVersion(u64::MAX))
        );
        for bad in ["", "+1", "-1", "1.0", "abc", "18446744073709551616", " 1"] {
            assert_eq!(ResourceVersion::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn keys_split_into_namespace_and_name() {
        let key = ObjectKey::new("default", "web");
        assert_eq!(
            (key.as_str(), key.namespace(), key.name()),
            ("default/web", "default", "web")
        );
        let node = ObjectKey::new("", "edge-00");
        assert_eq!(
            (node.as_str(), node.namespace(), node.name()),
            ("/edge-00", "", "edge-00")
        );
        assert_eq!(ObjectKey::parse("default/web"), Some(key));
        assert_eq!(ObjectKey::parse("web"), None);
    }
}
