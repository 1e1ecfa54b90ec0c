//! The resource types that the fake server knows, and how a path names one.

/// A resource type.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// API group, empty for core.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// Plural.
    pub resource: &'static str,
    /// Kind, as in `kind`.
    pub kind: &'static str,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Whether this is a custom resource: sorted keys, metadata last, `kind` in each item.
    pub custom: bool,
    /// What a bookmark of this type holds beyond its metadata: the fields that Go always writes.
    pub blank: &'static str,
}

const fn core(
    resource: &'static str,
    kind: &'static str,
    namespaced: bool,
    blank: &'static str,
) -> Kind {
    typed("", "v1", resource, kind, namespaced, blank)
}

const fn typed(
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    kind: &'static str,
    namespaced: bool,
    blank: &'static str,
) -> Kind {
    Kind {
        group,
        version,
        resource,
        kind,
        namespaced,
        custom: false,
        blank,
    }
}

/// `configmaps`
pub static CONFIGMAPS: Kind = core("configmaps", "ConfigMap", true, "");
/// `pods`
pub static PODS: Kind = core(
    "pods",
    "Pod",
    true,
    ",\"spec\":{\"containers\":null},\"status\":{}",
);
/// `services`
pub static SERVICES: Kind = core(
    "services",
    "Service",
    true,
    ",\"spec\":{},\"status\":{\"loadBalancer\":{}}",
);
/// `secrets`
pub static SECRETS: Kind = core("secrets", "Secret", true, "");
/// `nodes`
pub static NODES: Kind = core("nodes", "Node", false, ",\"spec\":{},\"status\":{}");
/// `namespaces`
pub static NAMESPACES: Kind = core(
    "namespaces",
    "Namespace",
    false,
    ",\"spec\":{},\"status\":{}",
);
/// `events`
pub static EVENTS: Kind = core("events", "Event", true, ",\"involvedObject\":{}");
/// `serviceaccounts`
pub static SERVICEACCOUNTS: Kind = core("serviceaccounts", "ServiceAccount", true, "");
/// `endpointslices.discovery.k8s.io`
pub static ENDPOINTSLICES: Kind = typed(
    "discovery.k8s.io",
    "v1",
    "endpointslices",
    "EndpointSlice",
    true,
    ",\"addressType\":\"\",\"endpoints\":null,\"ports\":null",
);
/// `leases.coordination.k8s.io`
pub static LEASES: Kind = typed(
    "coordination.k8s.io",
    "v1",
    "leases",
    "Lease",
    true,
    ",\"spec\":{}",
);
/// `csinodes.storage.k8s.io`
pub static CSINODES: Kind = typed(
    "storage.k8s.io",
    "v1",
    "csinodes",
    "CSINode",
    false,
    ",\"spec\":{\"drivers\":null}",
);
/// `csidrivers.storage.k8s.io`
pub static CSIDRIVERS: Kind = typed(
    "storage.k8s.io",
    "v1",
    "csidrivers",
    "CSIDriver",
    false,
    ",\"spec\":{}",
);
/// `runtimeclasses.node.k8s.io`
pub static RUNTIMECLASSES: Kind = typed(
    "node.k8s.io",
    "v1",
    "runtimeclasses",
    "RuntimeClass",
    false,
    ",\"handler\":\"\"",
);
/// `cameras.edge.example.com`: a custom resource.
pub static CAMERAS: Kind = Kind {
    group: "edge.example.com",
    version: "v1beta2",
    resource: "cameras",
    kind: "Camera",
    namespaced: true,
    custom: true,
    blank: "",
};

/// Every type that the server knows.
pub static KINDS: [&Kind; 14] = [
    &CONFIGMAPS,
    &PODS,
    &SERVICES,
    &SECRETS,
    &NODES,
    &NAMESPACES,
    &EVENTS,
    &SERVICEACCOUNTS,
    &ENDPOINTSLICES,
    &LEASES,
    &CSINODES,
    &CSIDRIVERS,
    &RUNTIMECLASSES,
    &CAMERAS,
];

impl Kind {
    /// `v1` or `GROUP/VERSION`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.into()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `pods` or `leases.coordination.k8s.io`, as messages say it.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.resource.into()
        } else {
            format!("{}.{}", self.resource, self.group)
        }
    }

    /// The path of the collection in `namespace`; empty for all namespaces and for cluster-scoped types.
    pub fn path(&self, namespace: &str) -> String {
        let root = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        if namespace.is_empty() {
            format!("{root}/{}", self.resource)
        } else {
            format!("{root}/namespaces/{namespace}/{}", self.resource)
        }
    }
}

/// What a path is about.
#[derive(Debug, PartialEq, Eq)]
pub enum Place {
    /// A collection or, with a name, an object of it; the namespace is empty for all of them or for none.
    Resource {
        /// The type.
        kind: &'static Kind,
        /// The namespace, or empty.
        namespace: String,
        /// The object, or `None` for the collection.
        name: Option<String>,
        /// `status`, `exec`, …; empty for the object itself.
        subresource: String,
    },
    /// A known group without such a resource.
    UnknownResource,
    /// Anything else.
    Other,
}

/// The path of the collection or object that the deprecated `…/watch/…` form watches.
pub fn without_watch(path: &str) -> Option<String> {
    let at = match path.split('/').nth(1)? {
        "api" => 3,
        "apis" => 4,
        _ => return None,
    };
    let mut parts: Vec<&str> = path.split('/').collect();
    (parts.len() > at + 1 && parts[at] == "watch").then(|| {
        parts.remove(at);
        parts.join("/")
    })
}

/// Reads a path without its query.
pub fn place(path: &str) -> Place {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
        ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
        _ => return Place::Other,
    };
    let known = |resource: &str| {
        KINDS.into_iter().find(|kind| {
            kind.group == group && kind.version == version && kind.resource == resource
        })
    };
    if !KINDS
        .iter()
        .any(|kind| kind.group == group && kind.version == version)
    {
        return Place::Other;
    }
    let (namespace, rest) = match rest {
        ["namespaces", namespace, resource, rest @ ..]
            if *resource != "status" && *resource != "finalize" =>
        {
            let mut tail = vec![*resource];
            tail.extend(rest);
            ((*namespace).to_string(), tail)
        }
        _ => (String::new(), rest.to_vec()),
    };
    let Some(kind) = known(rest[0]) else {
        return Place::UnknownResource;
    };
    if kind.namespaced && namespace.is_empty() && rest.len() > 1 {
        return Place::UnknownResource;
    }
    Place::Resource {
        kind,
        namespace,
        name: rest.get(1).map(|name| (*name).to_string()),
        subresource: rest.get(2).copied().unwrap_or_default().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::CAMERAS;
    use super::NODES;
    use super::PODS;
    use super::Place;
    use super::place;
    use super::without_watch;

    #[test]
    fn paths_name_collections_objects_and_subresources() {
        let resource =
            |kind, namespace: &str, name: Option<&str>, subresource: &str| Place::Resource {
                kind,
                namespace: namespace.into(),
                name: name.map(str::to_string),
                subresource: subresource.into(),
            };
        assert_eq!(place("/api/v1/pods"), resource(&PODS, "", None, ""));
        assert_eq!(
            place("/api/v1/namespaces/a/pods/p/exec"),
            resource(&PODS, "a", Some("p"), "exec")
        );
        assert_eq!(
            place("/api/v1/nodes/n"),
            resource(&NODES, "", Some("n"), "")
        );
        assert_eq!(
            place("/apis/edge.example.com/v1beta2/namespaces/a/cameras"),
            resource(&CAMERAS, "a", None, "")
        );
        assert_eq!(place("/api/v1/nothings"), Place::UnknownResource);
        assert_eq!(place("/apis/no.such.group/v1/pods"), Place::Other);
        assert_eq!(place("/version"), Place::Other);
        assert_eq!(
            without_watch("/api/v1/watch/namespaces/a/pods").as_deref(),
            Some("/api/v1/namespaces/a/pods")
        );
        assert_eq!(without_watch("/api/v1/namespaces/watch/pods"), None);
    }
}
