//! What is kept on flash, and how soon it must be there.

use std::time::Duration;

use crate::k8s::resource::GroupVersionResource;
use crate::k8s::resource::NODE_LEASES;

/// How long what a node can't boot without may be written and not yet synced.
const URGENT: Duration = Duration::from_millis(500);

/// What the resource of the collections is called that hold the tokens which the server gave for pods. No target has a slash
/// within a resource's name.
pub const TOKENS: &str = "tokens/";

/// Whether collections of `resource` are mirrored. Leases and events are not: they change all the time, wear flash out, and
/// nobody is served by an old one.
pub fn mirrored(resource: &GroupVersionResource) -> bool {
    !matches!(
        (resource.group.as_str(), resource.resource.as_str()),
        ("coordination.k8s.io", "leases")
            | ("" | "events.k8s.io", "events")
            | ("", "componentstatuses")
    )
}

/// Whether objects are kept as they were first seen, when they are asked for by name: a node's lease. A kubelet asks for it
/// when it starts; that it is renewed every ten seconds is not for the flash.
pub fn kept_once(resource: &GroupVersionResource, namespace: Option<&str>) -> bool {
    (resource.group.as_str(), resource.resource.as_str()) == ("coordination.k8s.io", "leases")
        && namespace == Some(NODE_LEASES)
}

/// How long a written change may wait for its sync: pods, secrets and configmaps hardly at all, the rest for as long as it
/// was configured, so that many changes wear flash as one.
pub fn sync_window(resource: &GroupVersionResource, configured: Duration) -> Duration {
    match (resource.group.as_str(), resource.resource.as_str()) {
        ("", "pods" | "secrets" | "configmaps") => URGENT.min(configured),
        _ => configured,
    }
}

/// Whether a node can't run its pods without collections of `resource`: what kubelet, kube-proxy and CoreDNS ask. They leave
/// the flash last. Tokens are above that: small, and nothing brings them back while the line is cut.
pub fn critical(resource: &GroupVersionResource) -> bool {
    matches!(
        (resource.group.as_str(), resource.resource.as_str()),
        (
            "",
            "pods"
                | "nodes"
                | "services"
                | "secrets"
                | "configmaps"
                | "namespaces"
                | "serviceaccounts"
                | "persistentvolumes"
                | "persistentvolumeclaims"
        ) | ("node.k8s.io", "runtimeclasses")
            | (
                "storage.k8s.io",
                "csidrivers" | "csinodes" | "volumeattachments"
            )
            | ("discovery.k8s.io", "endpointslices")
    )
}

/// Whether nobody must read the objects of `resource` on flash: Secrets, and the tokens that this node was given.
pub fn sealed(resource: &GroupVersionResource) -> bool {
    matches!(
        (resource.group.as_str(), resource.resource.as_str()),
        ("", "secrets" | TOKENS)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_all_the_time_is_not_kept_and_what_boots_a_node_is_kept_soon() {
        let of = |group, resource| GroupVersionResource::new(group, "v1", resource);
        assert!(!mirrored(&of("coordination.k8s.io", "leases")));
        assert!(!mirrored(&of("", "events")) && !mirrored(&of("events.k8s.io", "events")));
        assert!(mirrored(&of("", "pods")) && mirrored(&of("edge.example.com", "events")));
        let configured = Duration::from_secs(30);
        assert_eq!(sync_window(&of("", "secrets"), configured), URGENT);
        assert_eq!(sync_window(&of("", "services"), configured), configured);
        assert_eq!(sync_window(&of("", "pods"), Duration::ZERO), Duration::ZERO);
        assert!(critical(&of("", "secrets")) && critical(&of("storage.k8s.io", "csinodes")));
        assert!(sealed(&of("", "secrets")) && sealed(&of("", TOKENS)));
        assert!(!sealed(&of("", "configmaps")) && !sealed(&of("apps", "secrets")));
        assert!(!critical(&of("apps", "secrets")) && !critical(&of("apps", "deployments")));
    }
}
