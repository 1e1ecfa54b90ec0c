//! Every request that a kubelet and a kube-proxy were seen to send, online, cut off, and after a start cut off: the answer
//! that each must get is stated here (kubernetes-wire 4.1 and 4.3). They accept protobuf first and JSON too.

use serde_json::Value;
use serde_json::json;

use crate::Scene;
use crate::scene;
use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::apiserver::kind::CSIDRIVERS;
use crate::support::apiserver::kind::ENDPOINTSLICES;
use crate::support::apiserver::kind::PODS;
use crate::support::apiserver::kind::RUNTIMECLASSES;
use crate::support::apiserver::kind::SECRETS;
use crate::support::apiserver::kind::SERVICEACCOUNTS;
use crate::support::apiserver::kind::SERVICES;
use crate::support::cable::Mode;
use crate::support::object;

const ACCEPT: &str = "application/vnd.kubernetes.protobuf,application/json";
/// An informer's one stream of objects and changes.
const STREAM: &str = "allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&sendInitialEvents=true\
                      &timeout=8m42s&timeoutSeconds=522&watch=true";
/// What informers ask that were told not to use it.
const LIST: &str = "limit=500&resourceVersion=0";

/// What is listed and watched: the path and its selectors.
const COLLECTIONS: [&str; 14] = [
    "/api/v1/nodes?fieldSelector=metadata.name%3Dnode1",
    "/api/v1/services?fieldSelector=spec.clusterIP%21%3DNone",
    "/api/v1/pods?fieldSelector=spec.nodeName%3Dnode1",
    "/api/v1/namespaces/default/secrets?fieldSelector=metadata.name%3Ds1",
    "/api/v1/namespaces/default/configmaps?fieldSelector=metadata.name%3Dcm1",
    "/api/v1/namespaces/default/configmaps?fieldSelector=metadata.name%3Dkube-root-ca.crt",
    "/apis/storage.k8s.io/v1/csidrivers",
    "/apis/node.k8s.io/v1/runtimeclasses",
    // kube-proxy's, and an older one's.
    "/api/v1/services?fieldSelector=spec.clusterIP%21%3DNone&labelSelector=%21service.kubernetes.io%2Fservice-proxy-name",
    "/apis/discovery.k8s.io/v1/endpointslices?labelSelector=%21service.kubernetes.io%2Fheadless",
    "/api/v1/services?labelSelector=%21service.kubernetes.io%2Fheadless%2C%21service.kubernetes.io%2Fservice-proxy-name",
    // CoreDNS's.
    "/api/v1/services",
    "/apis/discovery.k8s.io/v1/endpointslices",
    "/api/v1/namespaces",
];

/// What is asked for by name, and written: method, target, the code online, and while cut off.
fn requests() -> Vec<(&'static str, &'static str, u16, u16)> {
    vec![
        // At the first start there is nothing yet: the server says so, and it is made.
        (
            "GET",
            "/apis/storage.k8s.io/v1/csinodes/node1?resourceVersion=0",
            404,
            200,
        ),
        ("POST", "/apis/storage.k8s.io/v1/csinodes", 201, 503),
        ("GET", "/apis/storage.k8s.io/v1/csinodes/node1", 200, 200),
        ("GET", "/api/v1/nodes/node1", 404, 200),
        ("GET", "/api/v1/nodes/node1?timeout=10s", 404, 200),
        ("POST", "/api/v1/nodes", 201, 409),
        ("GET", "/api/v1/nodes/node1", 200, 200),
        ("PATCH", "/api/v1/nodes/node1/status?timeout=10s", 200, 200),
        ("GET", LEASE_TIMEOUT, 404, 200),
        ("POST", LEASES, 201, 409),
        ("GET", LEASE_TIMEOUT, 200, 200),
        ("PUT", LEASE_TIMEOUT, 200, 200),
        // Pods: their status waits in the kubelet, and so do their deletions.
        ("GET", "/api/v1/namespaces/default/pods/app1", 200, 200),
        (
            "PATCH",
            "/api/v1/namespaces/default/pods/app1/status",
            200,
            503,
        ),
        ("DELETE", "/api/v1/namespaces/default/pods/gone", 404, 503),
        ("POST", "/api/v1/namespaces/default/pods", 201, 503),
        // The token that was given for the pod is given again.
        (
            "POST",
            "/api/v1/namespaces/default/serviceaccounts/default/token",
            201,
            201,
        ),
        ("POST", "/api/v1/namespaces/default/events", 201, 201),
        ("PATCH", "/api/v1/namespaces/default/events/e1", 200, 200),
        (
            "POST",
            "/apis/events.k8s.io/v1/namespaces/default/events",
            405,
            201,
        ),
        // Nobody here can judge or sign.
        (
            "POST",
            "/apis/authentication.k8s.io/v1/tokenreviews",
            405,
            503,
        ),
        (
            "POST",
            "/apis/authorization.k8s.io/v1/subjectaccessreviews",
            405,
            503,
        ),
        (
            "POST",
            "/apis/certificates.k8s.io/v1/certificatesigningrequests",
            405,
            503,
        ),
        (
            "DELETE",
            "/apis/resource.k8s.io/v1/resourceslices?fieldSelector=spec.nodeName%3Dnode1",
            405,
            503,
        ),
        (
            "POST",
            "/api/v1/namespaces/default/pods/app1/eviction",
            405,
            503,
        ),
        // What was never asked for is not known, whether it is there or not: never 404, never an empty list.
        (
            "GET",
            "/api/v1/namespaces/default/configmaps/other",
            404,
            503,
        ),
        ("GET", "/api/v1/namespaces/default/pods/unknown", 404, 503),
        ("GET", "/apis/networking.k8s.io/v1/servicecidrs", 404, 503),
        (
            "GET",
            "/apis/certificates.k8s.io/v1/certificatesigningrequests?fieldSelector=metadata.name%3Dcsr-1",
            404,
            503,
        ),
        (
            "GET",
            "/apis/storage.k8s.io/v1/volumeattachments/csi-1",
            404,
            503,
        ),
        ("GET", "/api/v1/persistentvolumes/pv-1", 404, 503),
    ]
}

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases?timeout=10s";
const LEASE_TIMEOUT: &str =
    "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node1?timeout=10s";

/// What is said with a write.
fn body(scene: &Scene, method: &str, target: &str) -> Value {
    let object = |kind: &str, api_version: &str, name: &str, namespace: Option<&str>| {
        let mut object =
            json!({"kind": kind, "apiVersion": api_version, "metadata": {"name": name}});
        if let Some(namespace) = namespace {
            object["metadata"]["namespace"] = json!(namespace);
        }
        object
    };
    let uid = || {
        let pod = scene.server.item(&PODS, "default", "app1");
        let pod: Value = serde_json::from_str(&pod.expect("it is there")).expect("JSON");
        pod["metadata"]["uid"].clone()
    };
    let path = target.split('?').next().unwrap_or_default();
    match (method, path.rsplit('/').next().unwrap_or_default()) {
        ("POST", "csinodes") => object("CSINode", "storage.k8s.io/v1", "node1", None),
        ("POST", "nodes") => object("Node", "v1", "node1", None),
        ("POST", "leases") | ("PUT", _) => {
            let namespace = Some("kube-node-lease");
            object("Lease", "coordination.k8s.io/v1", "node1", namespace)
        }
        ("POST", "pods") => object("Pod", "v1", "mirror-pod", Some("default")),
        ("POST", "events") => object("Event", "v1", "e1", Some("default")),
        ("POST", "token") => json!({
            "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": {},
            "spec": {"audiences": [], "expirationSeconds": 3607,
                "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "app1", "uid": uid()}},
        }),
        ("PATCH", "e1") => json!({"count": 2}),
        _ => json!({"status": {"phase": "Running"}}),
    }
}

fn send(scene: &Scene, method: &str, target: &str) -> (u16, Option<String>) {
    let client = scene.client().with("Accept", ACCEPT);
    let answer = match method {
        "GET" | "DELETE" => client.request(method, target, &[], b""),
        _ => client.write(method, target, &body(scene, method, target)),
    };
    let answer = answer.unwrap_or_else(|error| panic!("{method} {target}: {error}"));
    let after = answer.header("retry-after").map(str::to_owned);
    (answer.status, after)
}

fn with(target: &str, query: &str) -> String {
    let mark = if target.contains('?') { '&' } else { '?' };
    format!("{target}{mark}{query}")
}

/// A collection's stream and list, as they are answered while cut off.
fn collections(scene: &Scene, when: &str) {
    let client = scene.client().with("Accept", ACCEPT);
    for target in COLLECTIONS {
        let watch = client.watch(&with(target, STREAM));
        assert!(watch.is_ok(), "{when}: {target}: {:?}", watch.err());
        for list in [with(target, LIST), target.to_owned()] {
            let answer = client.get(&list).expect("an answer");
            assert_eq!(answer.status, 200, "{when}: {list}: {}", answer.text());
        }
    }
}

#[test]
fn each_request_of_a_kubelet_and_a_kube_proxy_has_its_answer() {
    let mut scene = scene();
    scene
        .server
        .put(&PODS, object::pod("default", "app1", "node1", &[]));
    scene
        .server
        .put(&SERVICES, object::service("default", "web"));
    scene
        .server
        .put(&SECRETS, object::secret("default", "s1", "c2VjcmV0"));
    for name in ["cm1", "kube-root-ca.crt"] {
        let map = object::configmap("default", name, &[], "1");
        scene.server.put(&CONFIGMAPS, map);
    }
    for (kind, name, namespace) in [
        (&CSIDRIVERS, "csi.example", None),
        (&RUNTIMECLASSES, "kata", None),
        (&ENDPOINTSLICES, "web-1", Some("default")),
        (&SERVICEACCOUNTS, "default", Some("default")),
    ] {
        let mut object = json!({"metadata": {"name": name}});
        if let Some(namespace) = namespace {
            object["metadata"]["namespace"] = json!(namespace);
        }
        scene.server.put(kind, object);
    }
    for (method, target, online, _) in requests() {
        let (code, _) = send(&scene, method, target);
        assert_eq!(code, online, "online: {method} {target}");
    }
    collections(&scene, "online");
    for when in ["cut off", "started cut off"] {
        if when == "cut off" {
            scene.cut_off(Mode::Refuse);
        } else {
            scene.kill();
            scene.start();
        }
        collections(&scene, when);
        for (method, target, _, offline) in requests() {
            let (code, after) = send(&scene, method, target);
            assert_eq!(code, offline, "{when}: {method} {target}");
            assert_eq!(
                after, None,
                "it would block the kubelet: {when}: {method} {target}"
            );
        }
    }
}
