//! Live endpoints: what EndpointSlices say of this node's pods while the line is cut, after a reboot and without one, and when
//! the line is back. In JSON; what is the same in protobuf is tested where it is made.

use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use crate::Scene;
use crate::cases::BOTH;
use crate::cases::PODS_HERE;
use crate::cases::bookmark_at;
use crate::cases::hangs;
use crate::cases::initial;
use crate::cases::put_pods;
use crate::cases::watch_after;
use crate::cases::with;
use crate::scene;
use crate::support::apiserver::kind::ENDPOINTSLICES;
use crate::support::apiserver::kind::PODS;
use crate::support::cable::Mode;
use crate::support::client::Watch;

const SLICES: &str = "/apis/discovery.k8s.io/v1/endpointslices";
const HERE: &str = "/apis/discovery.k8s.io/v1/namespaces/ns/endpointslices";

/// A pod's uid.
fn uid(scene: &Scene, pod: &str) -> String {
    let pod = scene.server.item(&PODS, "ns", pod).expect("a pod");
    let pod: Value = serde_json::from_str(&pod).expect("JSON");
    pod["metadata"]["uid"].as_str().expect("a uid").to_owned()
}

fn endpoint(scene: &Scene, pod: &str, address: &str) -> Value {
    let node = if pod == "p3" { "edge-01" } else { "edge-00" };
    json!({
        "addresses": [address], "conditions": {"ready": true, "serving": true, "terminating": false}, "hostname": pod,
        "targetRef": {"kind": "Pod", "namespace": "ns", "name": pod, "uid": uid(scene, pod)},
        "nodeName": node, "zone": "z",
    })
}

/// A slice of these pods; its version.
fn put_slice(scene: &Scene, name: &str, family: &str, endpoints: &[(&str, &str)]) -> u64 {
    let of = |(pod, address): &(&str, &str)| endpoint(scene, pod, address);
    let endpoints: Vec<Value> = endpoints.iter().map(of).collect();
    let slice = json!({
        "metadata": {"name": name, "namespace": "ns", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": family, "endpoints": endpoints, "ports": [{"name": "", "protocol": "TCP", "port": 80}],
    });
    scene.server.put(&ENDPOINTSLICES, slice)
}

const BEFORE: [(&str, &str); 3] = [
    ("p1", "10.42.0.1"),
    ("p2", "10.42.0.2"),
    ("p3", "10.42.1.3"),
];

/// A scene with two pods of this node and one of another behind a Service, which node's kubelet and kube-proxy know.
fn served() -> (Scene, u64) {
    let scene = scene();
    put_pods(&scene);
    let version = put_slice(&scene, "web-1", "IPv4", &BEFORE);
    scene.client().list(PODS_HERE);
    scene.client().list(SLICES);
    scene.connected();
    let kept = scene.folder().join("state/boot");
    scene.wait("the boot is kept", || kept.exists());
    (scene, version)
}

/// The agent is killed and starts without the line; so does the machine, if `machine` says so.
fn start_cut_off(scene: &mut Scene, machine: bool) {
    scene.kill();
    scene.cut(Mode::Refuse);
    let kept = scene.folder().join("state/boot");
    let this = std::fs::read(&kept).expect("kept");
    if machine {
        // What was kept is another boot than this.
        std::fs::write(&kept, "01234567-89ab-4cde-8f01-23456789abcd").expect("written");
    }
    scene.start();
    scene.cut_off(Mode::Refuse);
    scene.wait("this boot is kept", || {
        std::fs::read(&kept).is_ok_and(|now| now == this)
    });
}

/// A kubelet patches a pod's status while the line is cut: it is refused.
#[track_caller]
fn refused(scene: &Scene, pod: &str, status: &Value) {
    let (code, wait) = told(scene, pod, &uid(scene, pod), status);
    assert_eq!((code, wait), (503, false), "the kubelet is the queue");
}

fn told(scene: &Scene, pod: &str, uid: &str, status: &Value) -> (u16, bool) {
    let patch = json!({"metadata": {"uid": uid}, "status": status});
    let target = format!("/api/v1/namespaces/ns/pods/{pod}/status");
    let answer = scene.client().request(
        "PATCH",
        &target,
        &[("Content-Type", "application/strategic-merge-patch+json")],
        patch.to_string().as_bytes(),
    );
    let answer = answer.expect("an answer");
    (answer.status, answer.header("retry-after").is_some())
}

/// A status as a kubelet's patch has it when the pod has come back.
fn came_back(address: &str, before: &str, ready: bool) -> Value {
    let ready = if ready { "True" } else { "False" };
    json!({
        "$setElementOrder/conditions": [{"type": "Ready"}],
        "$setElementOrder/podIPs": [{"ip": address}],
        "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": "2026-11-24T10:00:00Z"}],
        "podIP": address, "podIPs": [{"ip": address}, {"$patch": "delete", "ip": before}],
    })
}

/// Each endpoint's address, and whether it is ready and serving.
fn endpoints(slice: &Value) -> Vec<(String, bool)> {
    let endpoints = slice["endpoints"].as_array().expect("endpoints");
    let of = |endpoint: &Value| {
        let conditions = &endpoint["conditions"];
        assert_eq!(conditions["ready"], conditions["serving"], "{endpoint}");
        let address = endpoint["addresses"][0].as_str().expect("an address");
        (address.to_owned(), conditions["ready"] == true)
    };
    endpoints.iter().map(of).collect()
}

fn are(expected: [(&str, bool); 3]) -> Vec<(String, bool)> {
    let of = |(address, ready): (&str, bool)| (address.to_owned(), ready);
    expected.into_iter().map(of).collect()
}

/// The endpoints of the one slice in a list.
#[track_caller]
fn listed(scene: &Scene) -> Vec<(String, bool)> {
    endpoints(&scene.client().list(SLICES).items()[0])
}

/// The next change must be this slice at this version; its endpoints.
#[track_caller]
fn modified(watch: &mut Watch, version: u64) -> Vec<(String, bool)> {
    let change = watch.change();
    assert_eq!(
        (change.event.as_str(), change.name(), change.version()),
        ("MODIFIED", "web-1", version),
        "{}",
        change.line
    );
    endpoints(&change.object)
}

#[test]
fn after_a_reboot_offline_slices_have_the_addresses_that_the_kubelet_tells() {
    let (mut scene, version) = served();
    let online = scene.client().list(SLICES);
    start_cut_off(&mut scene, true);
    let dead = are([
        ("10.42.0.1", false),
        ("10.42.0.2", false),
        ("10.42.1.3", true),
    ]);
    let list = scene.client().list(SLICES);
    assert_eq!(list.version(), online.version());
    assert_eq!(endpoints(&list.items()[0]), dead);
    // An informer that starts, and one that knew the slice before.
    let mut both = scene.client().watching(&with(SLICES, BOTH));
    let first = both.event();
    assert_eq!(endpoints(&first.object), dead);
    assert_eq!(both.event().version(), online.version());
    let mut after = watch_after(&scene, SLICES, online.version());
    assert_eq!(modified(&mut after, version), dead);
    bookmark_at(&mut after, online.version());
    // One comes back elsewhere.
    refused(&scene, "p1", &came_back("10.42.0.77", "10.42.0.1", true));
    let half = are([
        ("10.42.0.77", true),
        ("10.42.0.2", false),
        ("10.42.1.3", true),
    ]);
    for watch in [&mut both, &mut after] {
        assert_eq!(modified(watch, version), half);
        bookmark_at(watch, online.version());
    }
    assert_eq!(listed(&scene), half);
    let one = scene.client().list(&format!("{HERE}/web-1"));
    assert_eq!((endpoints(&one.json()), one.version()), (half, version));
    // The other where it was, not ready yet, and then ready as it was.
    refused(
        &scene,
        "p2",
        &json!({"conditions": [{"type": "Ready", "status": "False"}]}),
    );
    hangs(&mut both);
    refused(&scene, "p2", &json!({"phase": "Running"}));
    let whole = are([
        ("10.42.0.77", true),
        ("10.42.0.2", true),
        ("10.42.1.3", true),
    ]);
    for watch in [&mut both, &mut after] {
        assert_eq!(modified(watch, version), whole);
    }
    // All else is what the cloud sent, byte for byte.
    let shown = scene.client().list(SLICES).text();
    assert_eq!(shown, online.text().replace("10.42.0.1\"", "10.42.0.77\""));
    // Said again it is nothing new.
    refused(&scene, "p1", &came_back("10.42.0.77", "10.42.0.1", true));
    hangs(&mut after);
}

#[test]
fn when_the_clouds_slice_has_caught_up_it_is_shown_and_not_before() {
    let (mut scene, version) = served();
    start_cut_off(&mut scene, true);
    for (pod, new, old) in [
        ("p1", "10.42.0.77", "10.42.0.1"),
        ("p2", "10.42.0.78", "10.42.0.2"),
    ] {
        refused(&scene, pod, &came_back(new, old, true));
    }
    let told_here = are([
        ("10.42.0.77", true),
        ("10.42.0.78", true),
        ("10.42.1.3", true),
    ]);
    let mut watch = watch_after(&scene, SLICES, version);
    assert_eq!(modified(&mut watch, version), told_here);
    scene.restore();
    scene.connected();
    hangs(&mut watch);
    assert_eq!(
        told(
            &scene,
            "p1",
            &uid(&scene, "p1"),
            &came_back("10.42.0.77", "10.42.0.1", true)
        )
        .0,
        200,
        "it is delivered"
    );
    hangs(&mut watch);
    let after = [
        ("p1", "10.42.0.77"),
        ("p2", "10.42.0.78"),
        ("p3", "10.42.1.3"),
    ];
    let later = put_slice(&scene, "web-1", "IPv4", &after);
    assert_eq!(modified(&mut watch, later), told_here);
    // What comes from then on is the cloud's, whatever was told before.
    let later = put_slice(&scene, "web-1", "IPv4", &BEFORE);
    let as_before = are([
        ("10.42.0.1", true),
        ("10.42.0.2", true),
        ("10.42.1.3", true),
    ]);
    assert_eq!(modified(&mut watch, later), as_before);
    scene.cut_off(Mode::Refuse);
    assert_eq!(listed(&scene), as_before);
    hangs(&mut watch);
}

#[test]
fn when_the_line_is_back_and_the_addresses_are_right_the_clouds_slice_is_shown_without_an_event_of_the_cloud()
 {
    let (scene, version) = served();
    scene.cut_off(Mode::Refuse);
    let mut watch = watch_after(&scene, SLICES, version);
    refused(
        &scene,
        "p1",
        &json!({"conditions": [{"type": "Ready", "status": "False"}]}),
    );
    let down = are([
        ("10.42.0.1", false),
        ("10.42.0.2", true),
        ("10.42.1.3", true),
    ]);
    assert_eq!(modified(&mut watch, version), down);
    // A client that was shown this, and is away when the line comes back.
    let away = scene.client().list(SLICES);
    assert_eq!(endpoints(&away.items()[0]), down);
    scene.restore();
    let as_before = are([
        ("10.42.0.1", true),
        ("10.42.0.2", true),
        ("10.42.1.3", true),
    ]);
    assert_eq!(modified(&mut watch, version), as_before);
    let mut returns = watch_after(&scene, SLICES, away.version());
    assert_eq!(modified(&mut returns, version), as_before);
    bookmark_at(&mut returns, away.version());
    hangs(&mut returns);
}

#[test]
fn an_agent_that_starts_again_without_a_reboot_changes_nothing_that_is_not_told() {
    let (mut scene, version) = served();
    let online = scene.client().list(SLICES);
    start_cut_off(&mut scene, false);
    assert_eq!(scene.client().list(SLICES).body, online.body);
    let mut watch = scene.client().watching(&with(SLICES, BOTH));
    initial(&mut watch, &["web-1"], online.version());
    let mut after = watch_after(&scene, SLICES, online.version());
    hangs(&mut after);
    refused(&scene, "p2", &came_back("10.42.0.9", "10.42.0.2", true));
    let moved = are([
        ("10.42.0.1", true),
        ("10.42.0.9", true),
        ("10.42.1.3", true),
    ]);
    assert_eq!(modified(&mut watch, version), moved);
    assert_eq!(modified(&mut after, version), moved);
    assert_eq!(listed(&scene), moved);
}

#[test]
fn an_agent_that_starts_again_in_a_boot_without_the_line_takes_nothing_back() {
    let (mut scene, version) = served();
    start_cut_off(&mut scene, true);
    let moved = came_back("10.42.0.77", "10.42.0.1", true);
    refused(&scene, "p1", &moved);
    let half = are([
        ("10.42.0.77", true),
        ("10.42.0.2", false),
        ("10.42.1.3", true),
    ]);
    assert_eq!(listed(&scene), half);
    start_cut_off(&mut scene, false);
    // Its client knows where the pods are; a kubelet tells again what the cloud has not taken.
    let mut watch = watch_after(&scene, SLICES, version);
    hangs(&mut watch);
    refused(&scene, "p1", &moved);
    refused(&scene, "p2", &json!({"podIP": null, "podIPs": null}));
    loop {
        let seen = modified(&mut watch, version);
        if seen == half {
            break;
        }
        // Heard in two parts.
        assert_eq!(
            seen,
            are([
                ("10.42.0.77", true),
                ("10.42.0.2", true),
                ("10.42.1.3", true),
            ])
        );
    }
}

#[test]
fn a_line_that_was_back_for_a_moment_after_a_boot_takes_no_endpoint_from_an_agent_that_starts_again()
 {
    let (mut scene, version) = served();
    let online = scene.client().list(SLICES);
    start_cut_off(&mut scene, true);
    // The pods come back as they were, the cloud is told, and has nothing to change.
    for (pod, address) in [("p1", "10.42.0.1"), ("p2", "10.42.0.2")] {
        refused(&scene, pod, &came_back(address, address, true));
    }
    assert_eq!(scene.client().list(SLICES).body, online.body);
    scene.restore();
    scene.connected();
    start_cut_off(&mut scene, false);
    // The kubelet has nothing to tell again.
    assert_eq!(scene.client().list(SLICES).body, online.body);
    let mut watch = watch_after(&scene, SLICES, version);
    hangs(&mut watch);
}

#[test]
fn a_line_that_comes_and_goes_shows_what_was_said_last() {
    let (scene, version) = served();
    scene.cut_off(Mode::Refuse);
    let mut watch = watch_after(&scene, SLICES, version);
    let status = came_back("10.42.0.77", "10.42.0.1", true);
    let as_before = are([
        ("10.42.0.1", true),
        ("10.42.0.2", true),
        ("10.42.1.3", true),
    ]);
    let moved = are([
        ("10.42.0.77", true),
        ("10.42.0.2", true),
        ("10.42.1.3", true),
    ]);
    refused(&scene, "p1", &status);
    assert_eq!(modified(&mut watch, version), moved);
    for _ in 0..2 {
        scene.restore();
        // Another change of the slice, by a cloud that has not been told yet.
        let later = put_slice(&scene, "web-1", "IPv4", &BEFORE);
        assert_eq!(modified(&mut watch, later), as_before);
        scene.cut_off(Mode::Refuse);
        assert_eq!(listed(&scene), as_before);
        refused(&scene, "p1", &status);
        assert_eq!(modified(&mut watch, later), moved);
    }
}

#[test]
fn a_node_that_boots_with_the_line_shows_what_the_cloud_has_also_when_it_is_cut_later() {
    let (mut scene, _) = served();
    let online = scene.client().list(SLICES);
    let kept = scene.folder().join("state/boot");
    let this = std::fs::read(&kept).expect("kept");
    scene.kill();
    std::fs::write(&kept, "01234567-89ab-4cde-8f01-23456789abcd").expect("written");
    scene.start();
    scene.connected();
    scene.wait("this boot is kept", || {
        std::fs::read(&kept).is_ok_and(|now| now == this)
    });
    scene.cut_off(Mode::Refuse);
    assert_eq!(scene.client().list(SLICES).body, online.body);
}

#[test]
fn slices_of_other_families_and_of_headless_services_are_rewritten_as_they_are() {
    let (mut scene, _) = served();
    put_slice(
        &scene,
        "web-6",
        "IPv6",
        &[("p1", "fd00::1"), ("p3", "fd00::3")],
    );
    put_slice(&scene, "db-1", "IPv4", &[("p2", "10.42.0.2")]);
    let online = scene.client().list(SLICES).text();
    start_cut_off(&mut scene, true);
    let both = json!({
        "$setElementOrder/podIPs": [{"ip": "10.42.0.77"}, {"ip": "fd00::77"}],
        "podIP": "10.42.0.77", "podIPs": [{"ip": "10.42.0.77"}, {"ip": "fd00::77"}],
    });
    refused(&scene, "p1", &both);
    refused(&scene, "p2", &came_back("10.42.0.78", "10.42.0.2", true));
    let expected = online
        .replace("10.42.0.1\"", "10.42.0.77\"")
        .replace("10.42.0.2\"", "10.42.0.78\"")
        .replace("fd00::1\"", "fd00::77\"");
    assert!(expected.contains(r#""hostname":"p2""#));
    assert_eq!(scene.client().list(SLICES).text(), expected);
    let narrow = with(HERE, "labelSelector=kubernetes.io%2Fservice-name%3Dother");
    assert!(scene.client().list(&narrow).items().is_empty());
    let mut watch = scene.client().watching(&with(&narrow, BOTH));
    assert_eq!(watch.event().event, "BOOKMARK");
    refused(&scene, "p1", &came_back("10.42.0.79", "10.42.0.1", true));
    hangs(&mut watch);
}

#[test]
fn nobody_is_believed_about_a_pod_that_this_node_does_not_hold() {
    let (scene, _) = served();
    let online = scene.client().list(SLICES);
    let p3 = uid(&scene, "p3");
    scene.cut_off(Mode::Refuse);
    let moved = came_back("10.42.0.66", "10.42.0.1", true);
    let own = uid(&scene, "p1");
    for (pod, uid) in [
        ("p3", p3.as_str()),
        ("p1", p3.as_str()),
        ("p9", &own),
        ("p1", ""),
    ] {
        assert_eq!(told(&scene, pod, uid, &moved), (503, false), "{pod} {uid}");
    }
    let stranger = scene.client().with("Authorization", "Bearer another");
    let patch = json!({"metadata": {"uid": own}, "status": moved});
    let target = "/api/v1/namespaces/ns/pods/p1/status";
    let answer = stranger.write("PATCH", target, &patch).expect("an answer");
    assert_eq!(answer.status, 503);
    for nonsense in [&b""[..], b"[]", b"{\"status\":", b"\xff"] {
        let headers = [("Content-Type", "application/strategic-merge-patch+json")];
        let answer = scene.client().request("PATCH", target, &headers, nonsense);
        assert_eq!(answer.expect("an answer").status, 503);
    }
    let mut watch = watch_after(&scene, SLICES, online.version());
    let (events, _) = watch.collect(Duration::from_millis(300));
    assert!(events.iter().all(|event| event.event == "BOOKMARK"));
    assert_eq!(scene.client().list(SLICES).body, online.body);
}

#[test]
fn online_a_pods_status_passes_as_it_came() {
    let (scene, _) = served();
    let moved = json!({"podIP": "10.42.0.77", "podIPs": [{"ip": "10.42.0.77"}]});
    assert_eq!(told(&scene, "p1", &uid(&scene, "p1"), &moved).0, 200);
    let pod = scene.server.item(&PODS, "ns", "p1").expect("a pod");
    assert!(pod.contains("10.42.0.77"), "{pod}");
    let list = scene.client().list(SLICES);
    scene.cut_off(Mode::Refuse);
    assert_eq!(scene.client().list(SLICES).body, list.body);
}
