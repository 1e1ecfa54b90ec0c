//! Which fields objects can be selected by, and where they stand (kubernetes-wire 1.3).

use crate::k8s::resource::GroupVersionResource;
use crate::k8s::status::Status;
use crate::wire::object;

/// Groups whose resources are built in; in all others a resource is a custom one, whose selectable fields its definition
/// names.
fn is_built_in(group: &str) -> bool {
    // Built-in groups are short names or end in `.k8s.io`; definitions must not take those (api-approved.kubernetes.io).
    !group.contains('.') || group.ends_with(".k8s.io")
}

/// Whether objects of `resource` can be selected by `field`, as far as can be known here.
pub fn selectable(resource: &GroupVersionResource, field: &str) -> bool {
    matches!(field, "metadata.name" | "metadata.namespace") || !paths(resource, field).is_empty()
}

/// The value of `field` in an object; `None` if it has none.
pub fn value(resource: &GroupVersionResource, field: &str, object: &[u8]) -> Option<String> {
    let found = paths(resource, field)
        .into_iter()
        .find_map(|path| object::text_at(object, &path).ok().flatten());
    match field {
        // The server selects by the internal form, where absent is false.
        "spec.hostNetwork" | "spec.unschedulable" => {
            Some(found.unwrap_or_else(|| "false".to_owned()))
        }
        _ => found,
    }
}

/// The server's answer to a field that can't be selected by.
pub fn unsupported(resource: &GroupVersionResource, field: &str) -> Status {
    if resource.group.is_empty() && resource.version == "v1" {
        Status::bad_request(&format!("field label not supported: {field}"))
    } else {
        Status::bad_request(&format!(
            "{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        ))
    }
}

/// Where `field` stands: the first path that has a value counts.
fn paths<'a>(resource: &GroupVersionResource, field: &'a str) -> Vec<Vec<&'a str>> {
    let as_it_says = || vec![field.split('.').collect()];
    let known: &[&str] = match (resource.group.as_str(), resource.resource.as_str()) {
        ("", "pods") => match field {
            "spec.host" => return vec![vec!["spec", "nodeName"]],
            "status.podIP" => return vec![vec!["status", "podIP"]],
            _ => &[
                "spec.nodeName",
                "spec.restartPolicy",
                "spec.schedulerName",
                "spec.serviceAccountName",
                "spec.hostNetwork",
                "status.phase",
                "status.nominatedNodeName",
            ],
        },
        ("", "services") => &["spec.clusterIP", "spec.type"],
        ("", "nodes") => &["spec.unschedulable"],
        ("", "namespaces") => &["status.phase"],
        ("", "secrets") => &["type"],
        ("", "replicationcontrollers") => &["status.replicas"],
        ("", "events") => match field {
            "source" => return vec![vec!["source", "component"], vec!["reportingComponent"]],
            "reportingComponent" | "reason" | "type" => return as_it_says(),
            _ => &[
                "involvedObject.kind",
                "involvedObject.namespace",
                "involvedObject.name",
                "involvedObject.uid",
                "involvedObject.apiVersion",
                "involvedObject.resourceVersion",
                "involvedObject.fieldPath",
            ],
        },
        ("batch", "jobs") => match field {
            "status.successful" => return vec![vec!["status", "succeeded"]],
            _ => &[],
        },
        ("certificates.k8s.io", _) => &["spec.signerName", "spec.podName", "spec.nodeName"],
        ("resource.k8s.io", "resourceslices") => &["spec.nodeName", "spec.driver"],
        (group, _) if !is_built_in(group) => return as_it_says(),
        _ => &[],
    };
    if known.contains(&field) {
        as_it_says()
    } else {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(group: &str, resource: &str) -> GroupVersionResource {
        GroupVersionResource::new(group, "v1", resource)
    }

    #[test]
    fn pods_are_selected_as_the_kubelet_does() {
        let pods = resource("", "pods");
        let pod = br#"{"spec":{"nodeName":"edge-00","hostNetwork":true},"status":{"phase":"Running","podIP":"10.0.0.1"}}"#;
        for (field, expected) in [
            ("spec.nodeName", Some("edge-00")),
            ("spec.host", Some("edge-00")),
            ("spec.hostNetwork", Some("true")),
            ("status.phase", Some("Running")),
            ("status.podIP", Some("10.0.0.1")),
            ("status.nominatedNodeName", None),
        ] {
            assert!(selectable(&pods, field), "{field}");
            assert_eq!(value(&pods, field, pod).as_deref(), expected, "{field}");
        }
        assert_eq!(
            value(&pods, "spec.hostNetwork", br#"{"spec":{}}"#).as_deref(),
            Some("false")
        );
        assert!(!selectable(&pods, "spec.priority"));
    }

    #[test]
    fn other_resources_have_their_own_and_custom_ones_what_they_say() {
        assert!(selectable(&resource("", "services"), "spec.clusterIP"));
        assert!(!selectable(&resource("", "configmaps"), "data.a"));
        assert!(selectable(&resource("", "configmaps"), "metadata.name"));
        assert!(!selectable(
            &resource("apps", "deployments"),
            "spec.replicas"
        ));
        assert!(!selectable(
            &resource("discovery.k8s.io", "endpointslices"),
            "addressType"
        ));
        let camera = resource("edge.example.com", "cameras");
        assert!(selectable(&camera, "spec.fps"));
        assert_eq!(
            value(&camera, "spec.fps", br#"{"spec":{"fps":30}}"#).as_deref(),
            Some("30")
        );
        let job = resource("batch", "jobs");
        assert_eq!(
            value(&job, "status.successful", br#"{"status":{"succeeded":2}}"#).as_deref(),
            Some("2")
        );
    }

    #[test]
    fn a_field_that_is_not_selectable_is_named() {
        let status = unsupported(&resource("", "pods"), "spec.foo");
        assert_eq!(
            (status.code, status.message.as_str()),
            (400, "field label not supported: spec.foo")
        );
    }
}
