//! The name of a resource type: group, version, plural.

use std::fmt;

/// Group, version and plural resource name, as in a request path. The core group is the empty string.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupVersionResource {
    /// API group, empty for the core group.
    pub group: String,
    /// API version, e.g. `v1`.
    pub version: String,
    /// Plural, lower case, e.g. `configmaps`.
    pub resource: String,
}

/// The namespace in which nodes keep their leases.
pub const NODE_LEASES: &str = "kube-node-lease";

impl GroupVersionResource {
    /// A resource of `group` (empty: core), `version`, `resource`.
    pub fn new(group: &str, version: &str, resource: &str) -> Self {
        Self {
            group: group.into(),
            version: version.into(),
            resource: resource.into(),
        }
    }

    /// The path that the resource's collections start with: `/api/v1` or `/apis/GROUP/VERSION`.
    pub fn root(&self) -> String {
        if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        }
    }

    /// The `apiVersion` of its objects: `v1` or `GROUP/VERSION`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The name in messages, as the API server writes it: `configmaps` or `deployments.apps`.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.resource.clone()
        } else {
            format!("{}.{}", self.resource, self.group)
        }
    }
}

impl fmt::Display for GroupVersionResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.api_version(), self.resource)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_and_grouped_resources_are_named_as_the_server_names_them() {
        let pods = GroupVersionResource::new("", "v1", "pods");
        assert_eq!(
            (pods.root().as_str(), pods.api_version().as_str()),
            ("/api/v1", "v1")
        );
        assert_eq!(pods.qualified(), "pods");
        let slices = GroupVersionResource::new("discovery.k8s.io", "v1", "endpointslices");
        assert_eq!(slices.root(), "/apis/discovery.k8s.io/v1");
        assert_eq!(slices.qualified(), "endpointslices.discovery.k8s.io");
        assert_eq!(slices.to_string(), "discovery.k8s.io/v1/endpointslices");
    }
}
