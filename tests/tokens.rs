//! Tokens of service accounts beyond the conformance cases: who gets one, in which encoding, and when it goes.

use crate::Scene;
use crate::cases::PODS_HERE;
use crate::cases::put_pods;
use crate::cases::watch_after;
use crate::scene;
use crate::support::apiserver::kind::PODS;
use crate::support::apiserver::token::PROTOBUF;
use crate::support::apiserver::token::Request;
use crate::support::cable::Mode;
use crate::support::client::Answer;
use crate::support::object;
use serde_json::Value;

const JSON: &str = "application/json";
/// What a token is asked for in, and given in.
pub(crate) const ENCODINGS: [&str; 2] = [JSON, PROTOBUF];

/// The body of a request.
pub(crate) fn body(encoding: &str, request: &Request) -> Vec<u8> {
    match encoding {
        PROTOBUF => request.protobuf(),
        _ => request.json(),
    }
}

/// Asks for a token as a kubelet does that speaks `encoding`.
pub(crate) fn ask_in(
    scene: &Scene,
    encoding: &str,
    namespace: &str,
    name: &str,
    request: &Request,
) -> Answer {
    let accept = match encoding {
        PROTOBUF => "application/vnd.kubernetes.protobuf,application/json",
        _ => "application/json, */*",
    };
    let client = scene.client().with("Accept", accept);
    let headers = [("Content-Type", encoding)];
    client
        .request(
            "POST",
            &target(namespace, name),
            &headers,
            &body(encoding, request),
        )
        .expect("an answer")
}

fn target(namespace: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token")
}

/// Asks for a token in JSON.
pub(crate) fn ask(scene: &Scene, namespace: &str, name: &str, request: &Request) -> Answer {
    ask_in(scene, JSON, namespace, name, request)
}

/// The uid of a pod in `ns`.
pub(crate) fn uid(scene: &Scene, name: &str) -> String {
    let item = scene.server.item(&PODS, "ns", name).expect("it is there");
    let item: Value = serde_json::from_str(&item).expect("JSON");
    item["metadata"]["uid"].as_str().expect("a uid").to_owned()
}

/// How many tokens `/status` says that are held, and how many of them have ended.
fn told(scene: &Scene) -> (u64, u64) {
    let status = scene.admin().get("/status").expect("an answer").json();
    let number = |name: &str| status["tokens"][name].as_u64().expect("a number");
    (number("held"), number("expired"))
}

/// The same, while nothing happens: `/metrics` says so too.
pub(crate) fn held(scene: &Scene) -> (u64, u64) {
    let told = told(scene);
    let metrics = scene.admin().get("/metrics").expect("an answer").text();
    for line in [
        format!("toono_tokens {}", told.0),
        format!("toono_tokens_expired {}", told.1),
    ] {
        assert!(metrics.lines().any(|metric| metric == line), "{line}");
    }
    told
}

/// The pods of this node are watched by their kubelet, and each has its token.
fn with_tokens() -> Scene {
    let scene = scene();
    put_pods(&scene);
    let version = scene.client().list(PODS_HERE).version();
    drop(watch_after(&scene, PODS_HERE, version));
    for pod in ["p1", "p2"] {
        let request = Request::of_pod(pod, &uid(&scene, pod));
        assert_eq!(ask(&scene, "ns", "default", &request).status, 201);
    }
    assert_eq!(held(&scene), (2, 0));
    scene
}

#[test]
fn a_token_goes_with_its_pod_and_stays_while_the_pod_changes() {
    let mut scene = with_tokens();
    let (one, two) = (uid(&scene, "p1"), uid(&scene, "p2"));
    scene
        .server
        .patch_labels(&PODS, "ns", "p2", &[("a", Some("b"))]);
    scene.server.delete(&PODS, "ns", "p1");
    scene.wait("the token of p1 goes", || told(&scene) == (1, 0));
    // Another pod of that name is not the one that had the token.
    scene
        .server
        .put(&PODS, object::pod("ns", "p1", "edge-00", &[]));
    let new = uid(&scene, "p1");
    assert_ne!(new, one);
    assert_eq!(
        ask(&scene, "ns", "default", &Request::of_pod("p1", &new)).status,
        201
    );
    scene.cut_off(Mode::Refuse);
    for start in [false, true] {
        if start {
            scene.restart();
        }
        for (pod, uid, status) in [("p1", &one, 503), ("p2", &two, 201), ("p1", &new, 201)] {
            let answer = ask(&scene, "ns", "default", &Request::of_pod(pod, uid));
            assert_eq!(answer.status, status, "{pod} {uid}");
        }
        assert_eq!(held(&scene), (2, 0));
    }
}

#[test]
fn a_token_goes_when_a_list_misses_its_pod_also_after_a_restart() {
    let mut scene = with_tokens();
    scene.kill();
    scene.server.delete(&PODS, "ns", "p1");
    // What happened is not told any more: the agent must list.
    scene.server.compact();
    scene.start();
    assert_eq!(held(&scene), (2, 0), "nobody has said anything yet");
    scene.connected();
    scene.client().list(PODS_HERE);
    scene.wait("the token of p1 goes", || told(&scene) == (1, 0));
    // A pod that is only hidden from a selection is still there.
    scene.client().list("/api/v1/pods?labelSelector=a%3Db");
    scene
        .server
        .patch_labels(&PODS, "ns", "p2", &[("a", Some("b"))]);
    let chosen = scene.client().list("/api/v1/pods?labelSelector=a%3Db");
    assert_eq!(chosen.names(), ["p2"]);
    scene.server.patch_labels(&PODS, "ns", "p2", &[("a", None)]);
    let none = scene.client().list("/api/v1/pods?labelSelector=a%3Db");
    assert!(none.names().is_empty());
    scene.client().list(PODS_HERE);
    assert_eq!(held(&scene), (1, 0));
}

#[test]
fn nobody_gets_anothers_token_or_one_in_an_encoding_that_is_not_accepted() {
    let scene = scene();
    let request = Request::default();
    let caller = |token: &str, accept: &str| {
        let client = scene
            .client()
            .with("Authorization", &format!("Bearer {token}"));
        let client = client.with("Accept", accept);
        let headers = [("Content-Type", JSON)];
        client
            .request("POST", &target("ns", "sa"), &headers, &request.json())
            .expect("an answer")
    };
    assert_eq!(caller("one", JSON).status, 201);
    assert_eq!(caller("two", PROTOBUF).status, 201);
    scene.cut_off(Mode::Refuse);
    assert_eq!(caller("three", JSON).status, 503);
    assert_eq!(
        ask(&scene, "ns", "sa", &request).status,
        503,
        "the agent's own right"
    );
    let both = "application/vnd.kubernetes.protobuf,application/json";
    for (who, accept, status, kind) in [
        ("one", JSON, 201, JSON),
        ("one", both, 201, JSON),
        ("one", "*/*", 201, JSON),
        ("one", PROTOBUF, 406, PROTOBUF),
        ("two", PROTOBUF, 201, PROTOBUF),
        ("two", both, 201, PROTOBUF),
        ("two", JSON, 406, JSON),
    ] {
        let answer = caller(who, accept);
        assert_eq!(answer.status, status, "{who} {accept}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some(kind), "{who} {accept}");
    }
    assert_eq!(held(&scene), (2, 0));
}

#[test]
fn what_is_no_plain_request_passes_and_is_not_kept() {
    let scene = scene();
    let request = Request::default();
    let post = |query: &str, kind: &str, body: &[u8]| {
        let target = format!("{}{query}", target("ns", "sa"));
        let headers = [("Content-Type", kind)];
        let answer = scene.client().request("POST", &target, &headers, body);
        answer.expect("an answer").status
    };
    assert_eq!(post("?dryRun=All", JSON, &request.json()), 201);
    assert_eq!(post("", JSON, b"{\"spec\":"), 400);
    assert_eq!(post("", "application/yaml", b"spec: {}"), 400);
    let mut large = request.json();
    large.extend(vec![b' '; 100_000]);
    assert_eq!(post("", JSON, &large), 201);
    let sent = scene.server.requests();
    assert_eq!(sent.last().map(|r| r.body.len()), Some(large.len()));
    assert_eq!(held(&scene), (0, 0));
    assert_eq!(
        post("?timeout=10s&fieldManager=x", JSON, &request.json()),
        201
    );
    assert_eq!(held(&scene), (1, 0));
    scene.cut_off(Mode::Refuse);
    assert_eq!(post("?timeout=5s", JSON, &request.json()), 201);
    assert_eq!(post("?dryRun=All", JSON, &request.json()), 503);
    assert_eq!(post("", JSON, &large), 503);
}

#[test]
fn many_pods_that_start_at_once_all_have_their_tokens_kept() {
    let mut scene = scene();
    let requests: Vec<Request> = (0..40)
        .map(|n| Request {
            audiences: vec![format!("a-{n}")],
            ..Request::default()
        })
        .collect();
    scene.connected();
    std::thread::scope(|scope| {
        for request in &requests {
            let scene = &scene;
            scope.spawn(move || assert_eq!(ask(scene, "ns", "sa", request).status, 201));
        }
    });
    // What was answered is on flash, whatever happens now.
    scene.cut(Mode::Refuse);
    scene.restart();
    for request in &requests {
        assert_eq!(ask(&scene, "ns", "sa", request).status, 201, "{request:?}");
    }
    assert_eq!(held(&scene), (40, 0));
}
