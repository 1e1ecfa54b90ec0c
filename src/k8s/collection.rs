//! The name of a collection: what one list-and-watch stream is about, and who asked.

use std::fmt;

use crate::k8s::encoding::Encoding;
use crate::k8s::resource::GroupVersionResource;
use crate::k8s::selector::FieldSelector;
use crate::k8s::selector::LabelSelector;

/// Whose right to read a collection was used. Two callers never get each other's bytes, so it is part of the name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Credential {
    /// The agent's own: the request came without `Authorization`.
    #[default]
    Agent,
    /// The caller's own: a digest of its `Authorization` and impersonation headers, in hex. Never the token itself.
    Caller(String),
}

/// (resource, namespace or all, label selector, field selector, encoding, whose credential asked).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Collection {
    /// Group, version, resource.
    pub resource: GroupVersionResource,
    /// One namespace; `None` for all namespaces, and for cluster-scoped resources.
    pub namespace: Option<String>,
    /// Which labels; empty for every object.
    pub labels: LabelSelector,
    /// Which fields; empty for every object.
    pub fields: FieldSelector,
    /// In which encoding it is asked for. The API server answers in JSON what it does not have in protobuf (custom
    /// resources), so it may hold JSON all the same.
    pub encoding: Encoding,
    /// Whose right to read was used.
    pub credential: Credential,
}

impl Collection {
    /// The path of the collection, without a query: `/api/v1/namespaces/NS/pods`.
    pub fn path(&self) -> String {
        let root = self.resource.root();
        match &self.namespace {
            Some(namespace) => format!("{root}/namespaces/{namespace}/{}", self.resource.resource),
            None => format!("{root}/{}", self.resource.resource),
        }
    }

    /// Whether every object of `narrower` is an object of this collection, as far as the names can tell: the same
    /// resource and credential, the same namespace or all of them, and selectors that are the same or empty, in whichever
    /// encoding.
    pub fn covers(&self, narrower: &Self) -> bool {
        self.resource == narrower.resource
            && self.credential == narrower.credential
            && (self.namespace.is_none() || self.namespace == narrower.namespace)
            && (self.labels.is_empty() || self.labels == narrower.labels)
            && (self.fields.is_empty() || self.fields == narrower.fields)
    }
}

impl fmt::Display for Collection {
    /// For log lines: the path, selectors and protobuf behind it. The credential stays out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path())?;
        if !self.labels.is_empty() {
            write!(f, " labels={}", self.labels)?;
        }
        if !self.fields.is_empty() {
            write!(f, " fields={}", self.fields)?;
        }
        match self.encoding {
            Encoding::Json => Ok(()),
            Encoding::Protobuf => f.write_str(" protobuf"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collection(namespace: Option<&str>, labels: &str, fields: &str) -> Collection {
        Collection {
            resource: GroupVersionResource::new("", "v1", "configmaps"),
            namespace: namespace.map(str::to_owned),
            labels: LabelSelector::parse(labels).expect("a selector"),
            fields: FieldSelector::parse(fields).expect("a selector"),
            encoding: Encoding::Json,
            credential: Credential::Agent,
        }
    }

    #[test]
    fn a_broader_collection_covers_a_narrower_one_and_never_the_reverse() {
        let all = collection(None, "", "");
        let namespaced = collection(Some("a"), "", "");
        let labelled = collection(Some("a"), "x=1", "");
        let named = collection(Some("a"), "", "metadata.name=c");
        for narrower in [&all, &namespaced, &labelled, &named] {
            assert!(all.covers(narrower));
        }
        assert!(
            namespaced.covers(&labelled) && namespaced.covers(&named) && labelled.covers(&labelled)
        );
        assert!(
            !namespaced.covers(&all) && !labelled.covers(&namespaced) && !labelled.covers(&named)
        );
        assert!(!collection(Some("b"), "", "").covers(&namespaced));
        let other = Collection {
            credential: Credential::Caller("ab".into()),
            ..all.clone()
        };
        assert!(!other.covers(&all) && !all.covers(&other));
        let protobuf = Collection {
            encoding: Encoding::Protobuf,
            ..all.clone()
        };
        assert!(protobuf.covers(&all) && all.covers(&protobuf));
    }

    #[test]
    fn paths_are_the_api_servers() {
        assert_eq!(
            collection(Some("a"), "", "").path(),
            "/api/v1/namespaces/a/configmaps"
        );
        assert_eq!(collection(None, "", "").path(), "/api/v1/configmaps");
    }
}
