//! `nameprefix`: drops objects whose `metadata.name` starts with a prefix. Nothing else of the object counts.

use crate::k8s::collection::Collection;
use crate::k8s::object::ObjectKey;
use crate::rule::filter::Filter;

/// Drops by the start of the name.
pub struct NamePrefix(String);

impl NamePrefix {
    /// Drops what starts with `prefix`.
    pub fn new(prefix: &str) -> Self {
        Self(prefix.to_owned())
    }
}

impl Filter for NamePrefix {
    fn admits(&self, _collection: &Collection, key: &ObjectKey, _object: &[u8]) -> bool {
        !key.name().starts_with(&self.0)
    }

    fn by_name(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::collection::Credential;
    use crate::k8s::resource::GroupVersionResource;
    use crate::rule::filter::Chain;

    #[test]
    fn only_the_start_of_the_name_counts() {
        let chain = Chain::new(vec![Box::new(NamePrefix::new("skip-"))]);
        let collection = Collection {
            resource: GroupVersionResource::new("", "v1", "configmaps"),
            namespace: None,
            labels: Default::default(),
            fields: Default::default(),
            encoding: Default::default(),
            credential: Credential::Agent,
        };
        let admits = |namespace: &str, name: &str| {
            chain.admits(
                &collection,
                &ObjectKey::new(namespace, name),
                br#"{"data":{"skip-a":"skip-b"}}"#,
            )
        };
        for name in ["skip", "skipper", "my-skip-x", "a"] {
            assert!(admits("skip-ns", name), "{name}");
        }
        assert!(!admits("a", "skip-0") && !admits("a", "skip-"));
        assert!(chain.by_name() && Chain::default().is_empty());
    }
}
