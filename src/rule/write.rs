//! Which writes a kubelet must be answered while the line is cut, so that it lives through it (kubernetes-wire 4.3).
//!
//! What is not named here is refused then with 503, and must be: deletions and evictions, for they must reach the server; reviews of tokens and of access, for nobody here can
//! judge them, so who asks the kubelet for logs or metrics is turned away.

use crate::k8s::resource::NODE_LEASES;
use crate::wire::request::ResourceRequest;
use crate::wire::request::Verb;

/// A write, as far as it matters who answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// A node renews its lease: cut off it is told what it said, at the version that it said, so that the first renewal that
    /// reaches the server again is of the version that is there.
    Lease,
    /// A node makes its lease: it has one, if it is held.
    NewLease,
    /// A kubelet tells of its node: cut off it gets the node as it is held. It tells again when it sees the difference.
    NodeStatus,
    /// A kubelet registers its node: it is registered, if it is held.
    NewNode,
    /// A kubelet makes or changes its `CSINode`, which it asks for when it starts and can't do without.
    CsiNode,
    /// An event: a kubelet drops it for good when it is refused. It is held back, and sent when the line is back.
    Event,
    /// An event that has happened again.
    ChangedEvent,
    /// A kubelet tells of one of its pods: read, for the endpoints that are shown meanwhile, and refused, for the kubelet
    /// itself is the queue that keeps it.
    PodStatus,
    /// All others.
    Other,
}

impl Write {
    /// Which of them a request is.
    pub fn of(verb: Verb, request: &ResourceRequest) -> Self {
        let resource = &request.resource;
        match (
            resource.group.as_str(),
            resource.resource.as_str(),
            request.subresource.as_deref(),
            verb,
        ) {
            ("coordination.k8s.io", "leases", None, Verb::Update | Verb::Create)
                if request.namespace.as_deref() == Some(NODE_LEASES) =>
            {
                match verb {
                    Verb::Update => Self::Lease,
                    _ => Self::NewLease,
                }
            }
            ("", "nodes", Some("status"), Verb::Patch | Verb::Update) => Self::NodeStatus,
            ("", "nodes", None, Verb::Create) => Self::NewNode,
            ("", "pods", Some("status"), Verb::Patch) => Self::PodStatus,
            ("storage.k8s.io", "csinodes", None, Verb::Create | Verb::Update | Verb::Patch) => {
                Self::CsiNode
            }
            ("" | "events.k8s.io", "events", None, Verb::Create) => Self::Event,
            ("" | "events.k8s.io", "events", None, Verb::Patch) => Self::ChangedEvent,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::request::RequestInfo;

    #[test]
    fn what_a_kubelet_writes_is_told_apart() {
        const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
        for (method, target, write) in [
            ("PUT", format!("{LEASES}/n1?timeout=10s"), Write::Lease),
            ("POST", LEASES.to_owned(), Write::NewLease),
            ("PATCH", format!("{LEASES}/n1"), Write::Other),
            (
                "PUT",
                "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/a".to_owned(),
                Write::Other,
            ),
            (
                "PATCH",
                "/api/v1/nodes/n1/status?timeout=10s".to_owned(),
                Write::NodeStatus,
            ),
            ("PATCH", "/api/v1/nodes/n1".to_owned(), Write::Other),
            ("POST", "/api/v1/nodes".to_owned(), Write::NewNode),
            (
                "POST",
                "/apis/storage.k8s.io/v1/csinodes".to_owned(),
                Write::CsiNode,
            ),
            (
                "POST",
                "/api/v1/namespaces/default/events".to_owned(),
                Write::Event,
            ),
            (
                "POST",
                "/apis/events.k8s.io/v1/namespaces/default/events".to_owned(),
                Write::Event,
            ),
            (
                "PATCH",
                "/api/v1/namespaces/default/events/e.1".to_owned(),
                Write::ChangedEvent,
            ),
            (
                "PATCH",
                "/api/v1/namespaces/a/pods/p/status".to_owned(),
                Write::PodStatus,
            ),
            (
                "PATCH",
                "/api/v1/namespaces/a/pods/p".to_owned(),
                Write::Other,
            ),
            (
                "DELETE",
                "/api/v1/namespaces/a/pods/p".to_owned(),
                Write::Other,
            ),
            (
                "POST",
                "/api/v1/namespaces/a/pods/p/eviction".to_owned(),
                Write::Other,
            ),
            (
                "POST",
                "/apis/authorization.k8s.io/v1/subjectaccessreviews".to_owned(),
                Write::Other,
            ),
        ] {
            let info = RequestInfo::parse(method, &target);
            let request = info.resource.as_ref().expect("a resource");
            assert_eq!(Write::of(info.verb, request), write, "{method} {target}");
        }
    }
}
