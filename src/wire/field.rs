//! Which fields objects can be selected by, and where they stand (kubernetes-wire 1.3).

use crate::k8s::encoding::Encoding;
use crate::k8s::resource::GroupVersionResource;
use crate::k8s::status::Status;
use crate::wire::json;
use crate::wire::protobuf;

/// Groups whose resources are built in; in all others a resource is a custom one, whose selectable fields its definition
/// names.
pub fn is_built_in(group: &str) -> bool {
    // Built-in groups are short names or end in `.k8s.io`; definitions must not take those (api-approved.kubernetes.io).
    !group.contains('.') || group.ends_with(".k8s.io")
}

/// Whether objects of `resource` can be selected by `field`, as far as can be known here.
pub fn selectable(resource: &GroupVersionResource, field: &str) -> bool {
    matches!(field, "metadata.name" | "metadata.namespace") || !places(resource, field).is_empty()
}

/// The value of `field` in an object; `None` if it has none.
pub fn value(resource: &GroupVersionResource, field: &str, object: &[u8]) -> Option<String> {
    let found = places(resource, field)
        .into_iter()
        .find_map(|place| place.text(object));
    match field {
        // The server selects by the internal form, where absent is false; protobuf writes it as a number.
        "spec.hostNetwork" | "spec.unschedulable" => Some(match found.as_deref() {
            Some("1" | "true") => "true".to_owned(),
            _ => "false".to_owned(),
        }),
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

/// Where a field stands: the names that lead to it in JSON, the numbers in protobuf (none for custom resources, which have
/// no protobuf).
struct Place<'a> {
    names: Vec<&'a str>,
    numbers: &'static [u32],
}

impl Place<'_> {
    fn text(&self, object: &[u8]) -> Option<String> {
        let text = match Encoding::of(object) {
            Encoding::Json => json::object::text_at(object, &self.names),
            Encoding::Protobuf => protobuf::object::text_at(object, self.numbers),
        };
        text.ok().flatten()
    }
}

/// Where `field` stands: the first place that has a value counts. The numbers are those of `generated.proto` in k8s.io/api.
fn places<'a>(resource: &GroupVersionResource, field: &'a str) -> Vec<Place<'a>> {
    let at = |numbers| {
        let names = field.split('.').collect();
        vec![Place { names, numbers }]
    };
    let else_at = |name: &'a str, numbers| {
        let names = name.split('.').collect();
        vec![Place { names, numbers }]
    };
    match (resource.group.as_str(), resource.resource.as_str(), field) {
        ("", "pods", "spec.host") => else_at("spec.nodeName", &[2, 10]),
        ("", "pods", "spec.nodeName") => at(&[2, 10]),
        ("", "pods", "spec.restartPolicy") => at(&[2, 3]),
        ("", "pods", "spec.schedulerName") => at(&[2, 19]),
        ("", "pods", "spec.serviceAccountName") => at(&[2, 8]),
        ("", "pods", "spec.hostNetwork") => at(&[2, 11]),
        ("", "pods", "status.phase") => at(&[3, 1]),
        ("", "pods", "status.podIP") => at(&[3, 6]),
        ("", "pods", "status.nominatedNodeName") => at(&[3, 11]),
        ("", "services", "spec.clusterIP") => at(&[2, 3]),
        ("", "services", "spec.type") => at(&[2, 4]),
        ("", "nodes", "spec.unschedulable") => at(&[2, 4]),
        ("", "namespaces", "status.phase") => at(&[3, 1]),
        ("", "secrets", "type") => at(&[3]),
        ("", "replicationcontrollers", "status.replicas") => at(&[3, 1]),
        ("", "events", "source") => {
            let mut places = else_at("source.component", &[5, 1]);
            places.extend(else_at("reportingComponent", &[14]));
            places
        }
        ("", "events", "reportingComponent") => at(&[14]),
        ("", "events", "reason") => at(&[3]),
        ("", "events", "type") => at(&[9]),
        ("", "events", "involvedObject.kind") => at(&[2, 1]),
        ("", "events", "involvedObject.namespace") => at(&[2, 2]),
        ("", "events", "involvedObject.name") => at(&[2, 3]),
        ("", "events", "involvedObject.uid") => at(&[2, 4]),
        ("", "events", "involvedObject.apiVersion") => at(&[2, 5]),
        ("", "events", "involvedObject.resourceVersion") => at(&[2, 6]),
        ("", "events", "involvedObject.fieldPath") => at(&[2, 7]),
        ("batch", "jobs", "status.successful") => else_at("status.succeeded", &[3, 5]),
        ("certificates.k8s.io", "certificatesigningrequests", "spec.signerName") => at(&[2, 7]),
        ("certificates.k8s.io", _, "spec.signerName") => at(&[2, 1]),
        ("certificates.k8s.io", _, "spec.podName") => at(&[2, 2]),
        ("certificates.k8s.io", _, "spec.nodeName") => at(&[2, 6]),
        ("resource.k8s.io", "resourceslices", "spec.driver") => at(&[2, 1]),
        ("resource.k8s.io", "resourceslices", "spec.nodeName") => at(&[2, 3]),
        (group, _, _) if !is_built_in(group) => at(&[]),
        _ => Vec::new(),
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
