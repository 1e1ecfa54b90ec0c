//! W051, W052, W054, W086, W087, W097, W098: what a kubelet writes while the line is cut, and when it is back.

use serde_json::Value;
use serde_json::json;

use super::ask;
use super::put_pods;
use crate::Scene;
use crate::scene;
use crate::support::apiserver::kind::EVENTS;
use crate::support::apiserver::kind::LEASES;
use crate::support::cable::Mode;
use crate::support::client::Answer;

const LEASES_HERE: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/edge-00";
const NODE: &str = "/api/v1/nodes/edge-00";
const EVENTS_HERE: &str = "/api/v1/namespaces/ns/events";

#[track_caller]
fn write(scene: &Scene, method: &str, target: &str, body: &Value) -> Answer {
    let answer = scene.client().write(method, target, body);
    answer.expect("an answer")
}

/// The lease at a renewal.
fn lease(version: Option<&str>, second: u32) -> Value {
    let mut lease = json!({
        "kind": "Lease", "apiVersion": "coordination.k8s.io/v1",
        "metadata": {"name": "edge-00", "namespace": "kube-node-lease"},
        "spec": {"holderIdentity": "edge-00", "leaseDurationSeconds": 40,
            "renewTime": format!("2026-11-24T10:00:{second:02}.123456Z")},
    });
    if let Some(version) = version {
        lease["metadata"]["resourceVersion"] = json!(version);
    }
    lease
}

fn event(name: &str) -> Value {
    json!({
        "kind": "Event", "apiVersion": "v1", "metadata": {"name": name, "namespace": "ns"},
        "involvedObject": {"kind": "Pod", "namespace": "ns", "name": "p1"}, "reason": "Started", "count": 1,
    })
}

fn version_of(answer: &Answer) -> String {
    let object = answer.json();
    let version = object["metadata"]["resourceVersion"].as_str();
    version.expect("a version").to_owned()
}

#[test]
fn w051_a_lease_that_is_renewed_offline_is_echoed_at_its_version() {
    let scene = scene();
    let made = write(&scene, "POST", LEASES_HERE, &lease(None, 0));
    assert_eq!(made.status, 201);
    let version = version_of(&made);
    let renewed = write(&scene, "PUT", LEASE, &lease(Some(&version), 1));
    let version = version_of(&renewed);
    scene.cut_off(Mode::Refuse);
    for second in 2..5 {
        let said = lease(Some(&version), second);
        let echo = write(&scene, "PUT", LEASE, &said);
        assert_eq!((echo.status, echo.json()), (200, said));
        assert_eq!(echo.header("content-type"), Some("application/json"));
    }
    // Another's lease is not a node's heartbeat: two would hold it.
    let other = LEASE.replace("kube-node-lease", "kube-system");
    assert_eq!(write(&scene, "PUT", &other, &lease(None, 5)).status, 503);
    assert_eq!(scene.server.item(&LEASES, "kube-system", "edge-00"), None);
}

#[test]
fn w052_a_nodes_status_offline_is_answered_with_the_node_as_it_is_held() {
    let scene = scene();
    put_pods(&scene);
    let nodes = "/api/v1/nodes?fieldSelector=metadata.name%3Dedge-00";
    scene.client().list(nodes);
    let online = ask(&scene, NODE);
    scene.cut_off(Mode::Refuse);
    let patch = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    let patched = write(
        &scene,
        "PATCH",
        &format!("{NODE}/status?timeout=10s"),
        &patch,
    );
    assert_eq!((patched.status, patched.json()), (200, online.json()));
    assert_eq!(
        ask(&scene, NODE).json(),
        online.json(),
        "and nothing was changed"
    );
    let other = write(&scene, "PATCH", "/api/v1/nodes/edge-01/status", &patch);
    assert_eq!(other.status, 503, "never asked for");
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    assert_eq!(
        write(&scene, "PATCH", NODE, &labels).status,
        503,
        "no heartbeat"
    );
}

#[test]
fn w054_events_offline_are_taken_held_back_and_sent_in_their_order() {
    let scene = scene();
    assert_eq!(
        write(&scene, "POST", EVENTS_HERE, &event("before")).status,
        201
    );
    scene.cut_off(Mode::Refuse);
    for n in 0..20 {
        let said = event(&format!("e.{n:02}"));
        let taken = write(&scene, "POST", EVENTS_HERE, &said);
        assert_eq!((taken.status, taken.json()), (201, said));
    }
    // It has happened again: there is nothing to patch here, and a refusal would lose it.
    let patch = json!({"count": 7, "message": "again"});
    let again = write(&scene, "PATCH", &format!("{EVENTS_HERE}/before"), &patch);
    let said = again.json();
    assert_eq!(
        (
            again.status,
            &said["kind"],
            &said["metadata"]["name"],
            &said["count"]
        ),
        (200, &json!("Event"), &json!("before"), &json!(7))
    );
    scene.restore();
    scene.wait("they are there", || {
        scene.server.item(&EVENTS, "ns", "e.19").is_some()
            && scene
                .server
                .item(&EVENTS, "ns", "before")
                .is_some_and(|event| event.contains("again"))
    });
    let versions: Vec<u64> = (0..20)
        .map(|n| {
            let event = scene.server.item(&EVENTS, "ns", &format!("e.{n:02}"));
            let event: Value = serde_json::from_str(&event.expect("sent")).expect("JSON");
            let version = event["metadata"]["resourceVersion"].as_str();
            version.expect("a version").parse().expect("a number")
        })
        .collect();
    assert!(versions.is_sorted(), "{versions:?}");
}

#[test]
fn more_events_than_are_held_are_taken_and_the_last_are_sent() {
    let scene = scene();
    scene.connected();
    scene.cut_off(Mode::Refuse);
    for n in 0..300 {
        let taken = write(&scene, "POST", EVENTS_HERE, &event(&format!("e.{n:03}")));
        assert_eq!(taken.status, 201, "{n}");
    }
    scene.restore();
    scene.wait("the last is there", || {
        scene.server.item(&EVENTS, "ns", "e.299").is_some()
    });
    assert_eq!(scene.server.item(&EVENTS, "ns", "e.000"), None);
}

#[test]
fn w086_a_node_that_is_held_exists_already() {
    let mut scene = scene();
    put_pods(&scene);
    scene
        .client()
        .list("/api/v1/nodes?fieldSelector=metadata.name%3Dedge-00");
    scene.cut(Mode::Refuse);
    scene.kill();
    scene.start();
    let node = |name: &str| json!({"kind": "Node", "apiVersion": "v1", "metadata": {"name": name}});
    let exists = write(&scene, "POST", "/api/v1/nodes", &node("edge-00"));
    assert_eq!(
        (exists.status, exists.reason().as_str()),
        (409, "AlreadyExists")
    );
    let golden = include_bytes!("../golden/post_node_exists.body");
    assert_eq!(exists.body, golden);
    let unknown = write(&scene, "POST", "/api/v1/nodes", &node("edge-01"));
    assert_eq!(unknown.status, 503);
    assert!(unknown.header("retry-after").is_none());
}

#[test]
fn w087_a_lease_is_there_after_a_start_offline_and_is_renewed() {
    let mut scene = scene();
    let made = write(&scene, "POST", LEASES_HERE, &lease(None, 0));
    let mut version = version_of(&made);
    let written = scene.mirror_bytes();
    for second in 1..30 {
        let renewed = write(&scene, "PUT", LEASE, &lease(Some(&version), second));
        version = version_of(&renewed);
    }
    assert_eq!(
        scene.mirror_bytes(),
        written,
        "renewals are not for the flash"
    );
    scene.cut(Mode::Refuse);
    scene.kill();
    scene.start();
    let held = ask(&scene, LEASE);
    assert_eq!((held.status, version_of(&held)), (200, version_of(&made)));
    let said = lease(Some(&version_of(&held)), 31);
    let echo = write(&scene, "PUT", LEASE, &said);
    assert_eq!((echo.status, echo.json()), (200, said));
    let again = write(&scene, "POST", LEASES_HERE, &lease(None, 32));
    assert_eq!(again.status, 409);
    assert_eq!(
        ask(&scene, &LEASE.replace("edge-00", "edge-01")).status,
        503
    );
}

#[test]
fn a_lease_that_was_made_anew_is_kept_anew() {
    let mut scene = scene();
    let first = write(&scene, "POST", LEASES_HERE, &lease(None, 0));
    scene.server.delete(&LEASES, "kube-node-lease", "edge-00");
    let second = write(&scene, "POST", LEASES_HERE, &lease(None, 1));
    assert_ne!(version_of(&first), version_of(&second));
    scene.cut(Mode::Refuse);
    scene.kill();
    scene.start();
    assert_eq!(version_of(&ask(&scene, LEASE)), version_of(&second));
}

#[test]
fn a_csinode_that_was_made_through_the_agent_is_known_after_a_start_offline() {
    let mut scene = scene();
    let path = "/apis/storage.k8s.io/v1/csinodes";
    assert_eq!(ask(&scene, &format!("{path}/edge-00")).status, 404);
    let made = json!({"kind": "CSINode", "apiVersion": "storage.k8s.io/v1",
        "metadata": {"name": "edge-00"}, "spec": {"drivers": []}});
    let made = write(&scene, "POST", path, &made);
    assert_eq!(made.status, 201);
    scene.cut(Mode::Refuse);
    scene.kill();
    scene.start();
    let held = ask(&scene, &format!("{path}/edge-00"));
    assert_eq!((held.status, held.json()), (200, made.json()));
    assert_eq!(ask(&scene, &format!("{path}/edge-01")).status, 503);
}

#[test]
fn w097_a_pods_status_that_the_kubelet_kept_arrives_when_the_line_is_back() {
    let scene = scene();
    put_pods(&scene);
    scene.connected();
    scene.cut_off(Mode::Refuse);
    let target = "/api/v1/namespaces/ns/pods/p1/status";
    let patch = json!({"status": {"phase": "Failed"}});
    let refused = write(&scene, "PATCH", target, &patch);
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").is_none());
    scene.restore();
    // As the kubelet does it: again and again, the status as it is then.
    scene.wait("it arrives", || {
        let answer = scene.client().write("PATCH", target, &patch);
        answer.is_ok_and(|answer| answer.status == 200)
    });
    let pod = scene.direct().get("/api/v1/namespaces/ns/pods/p1");
    assert_eq!(pod.expect("an answer").json()["status"]["phase"], "Failed");
}

#[test]
fn w098_the_first_renewal_at_an_echoed_version_passes_or_is_a_conflict_that_heals() {
    let scene = scene();
    let version = version_of(&write(&scene, "POST", LEASES_HERE, &lease(None, 0)));
    scene.cut_off(Mode::Refuse);
    let echo = write(&scene, "PUT", LEASE, &lease(Some(&version), 1));
    scene.restore();
    scene.connected();
    let renewed = write(&scene, "PUT", LEASE, &lease(Some(&version_of(&echo)), 2));
    assert_eq!(renewed.status, 200, "nobody else has renewed it");
    scene.cut_off(Mode::Refuse);
    let stale = version_of(&write(
        &scene,
        "PUT",
        LEASE,
        &lease(Some(&version_of(&renewed)), 3),
    ));
    scene.server.put(&LEASES, lease(None, 4));
    scene.restore();
    scene.connected();
    let conflict = write(&scene, "PUT", LEASE, &lease(Some(&stale), 5));
    assert_eq!(
        (conflict.status, conflict.reason().as_str()),
        (409, "Conflict")
    );
    let fresh = version_of(&ask(&scene, LEASE));
    let healed = write(&scene, "PUT", LEASE, &lease(Some(&fresh), 6));
    assert_eq!(healed.status, 200);
}
