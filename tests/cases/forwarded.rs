//! W016–W022, W028–W032: what passes to the server and back as it is.

use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::time::Duration;

use super::BOTH;
use super::MAPS;
use super::ask;
use super::put_map;
use super::put_maps;
use super::put_pods;
use super::refusal;
use super::with;
use crate::scene;
use crate::support::apiserver::Action;
use crate::support::apiserver::Only;
use crate::support::apiserver::kind::LEASES;
use crate::support::cable::Mode;
use crate::support::client::Next;
use crate::support::object;
use serde_json::json;

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";

#[test]
fn w016_a_patch_of_a_pods_status_goes_up_once_body_and_media_type_untouched() {
    let scene = scene();
    put_pods(&scene);
    scene.connected();
    let media = "application/strategic-merge-patch+json";
    let body = b" {\"status\" :{\"phase\":\"Failed\",\"x\":1.0e3}}\n";
    let target = "/api/v1/namespaces/ns/pods/p1/status?fieldManager=kubelet";
    let answer = scene
        .client()
        .request("PATCH", target, &[("Content-Type", media)], body)
        .expect("an answer");
    assert_eq!(
        (answer.status, &answer.json()["status"]["phase"]),
        (200, &json!("Failed"))
    );
    let asked = scene.server.requests();
    assert_eq!(asked.len(), 1);
    assert_eq!(
        (asked[0].method.as_str(), asked[0].target.as_str()),
        ("PATCH", target)
    );
    assert_eq!(
        (asked[0].content_type.as_str(), &asked[0].body[..]),
        (media, &body[..])
    );
}

#[test]
fn w017_a_put_of_a_lease_at_a_stale_version_is_the_servers_409() {
    let scene = scene();
    let lease = json!({"metadata": {"name": "edge-00", "namespace": "kube-node-lease"}, "spec": {"leaseDurationSeconds": 40}});
    let first = scene.server.put(&LEASES, lease.clone());
    scene.server.put(&LEASES, lease.clone());
    let mut stale = lease;
    stale["metadata"]["resourceVersion"] = json!(first.to_string());
    let answer = scene
        .client()
        .write("PUT", &format!("{LEASE}/edge-00"), &stale)
        .expect("an answer");
    assert_eq!((answer.status, answer.reason().as_str()), (409, "Conflict"));
}

#[test]
fn w020_exec_is_a_tunnel_by_websocket_and_by_spdy_with_its_half_close() {
    let scene = scene();
    put_pods(&scene);
    scene.connected();
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for (method, protocol) in [("GET", "websocket"), ("POST", "SPDY/3.1")] {
        let mut connection = scene.client().open().expect("the door is open");
        let headers = [("Connection", "Upgrade"), ("Upgrade", protocol)];
        let target = "/api/v1/namespaces/ns/pods/p1/exec?command=cat";
        connection
            .send(method, target, &headers, b"")
            .expect("sent");
        let (status, mut echoed, mut stream) = connection.upgraded().expect("an answer");
        assert_eq!(status, 101, "{protocol}");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("set");
        let mut writer = stream.try_clone().expect("a second handle");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                writer.write_all(&bytes).expect("sent");
                writer.shutdown(Shutdown::Write).expect("half-closed");
            });
            stream.read_to_end(&mut echoed).expect("echoed and closed");
        });
        assert!(echoed == bytes, "{protocol}: {} bytes", echoed.len());
    }
}

#[test]
fn w021_a_log_that_is_followed_comes_as_it_is_said_also_after_silence() {
    let scene = scene();
    put_pods(&scene);
    let target = "/api/v1/namespaces/ns/pods/p1/log?follow=true";
    let mut log = scene.client().watching(target);
    assert_eq!(log.event().version(), scene.server.version());
    // Longer than what counts as a dead line while a request waits for its answer.
    let pause = log.next(Duration::from_secs(7));
    assert!(matches!(pause, Next::Silent), "{pause:?}");
    for _ in 0..3 {
        let version = put_map(&scene, "c-0");
        assert_eq!(log.event().version(), version);
    }
}

#[test]
fn w022_discovery_that_has_not_changed_is_304_with_its_tag_and_no_body() {
    let scene = scene();
    scene.connected();
    let client = scene.client().with(
        "Accept",
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json",
    );
    let first = client.get("/apis").expect("an answer");
    assert_eq!(
        (first.status, &first.json()["kind"]),
        (200, &json!("APIGroupDiscoveryList"))
    );
    let tag = first.header("etag").expect("a tag").to_owned();
    let again = client
        .with("If-None-Match", &tag)
        .get("/apis")
        .expect("an answer");
    assert_eq!(
        (again.status, again.header("etag")),
        (304, Some(tag.as_str()))
    );
    assert!(again.body.is_empty());
}

#[test]
fn w028_a_callers_own_credential_goes_up_and_what_it_brings_is_nobody_elses() {
    let scene = scene();
    put_maps(&scene, 1);
    let caller = scene.client().with("Authorization", "Bearer somebody");
    caller.list(MAPS);
    let asked = scene.server.requests().pop().expect("asked");
    assert_eq!(asked.authorization.as_deref(), Some("Bearer somebody"));
    scene.cut_off(Mode::Refuse);
    assert_eq!(caller.list(MAPS).names(), ["c-0"]);
    let unavailable = (503, "ServiceUnavailable".to_owned());
    assert_eq!(refusal(&scene, MAPS), unavailable);
}

#[test]
fn w029_without_a_credential_the_agents_own_is_used_and_its_403_passes() {
    let scene = scene();
    put_maps(&scene, 1);
    // The server answers nobody who shows neither a certificate nor a token.
    scene.client().list(MAPS);
    let asked = scene.server.requests().pop().expect("asked");
    assert_eq!(asked.authorization, None);
    scene
        .server
        .fail("/secrets", Only::All, 1, Action::Status(403));
    let refused = refusal(&scene, "/api/v1/secrets");
    assert_eq!(refused, (403, "Forbidden".to_owned()));
}

#[test]
fn w030_a_429_on_a_watch_passes_with_its_retry_after() {
    let scene = scene();
    put_maps(&scene, 1);
    let body = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too many requests, please try again later","reason":"TooManyRequests","code":429}"#;
    let later = Action::Answer {
        status: 429,
        headers: vec![
            ("content-type", "application/json".to_owned()),
            ("retry-after", "3".to_owned()),
        ],
        body: body.into(),
    };
    scene.server.fail("", Only::Watches, 2, later);
    for target in [with(LEASE, "watch=true"), with(MAPS, BOTH)] {
        let answer = ask(&scene, &target);
        assert_eq!(
            (
                answer.status,
                answer.header("retry-after"),
                answer.text().as_str()
            ),
            (429, Some("3"), body),
            "{target}"
        );
    }
}

#[test]
fn w031_a_parameter_that_is_not_known_goes_up_and_its_answer_is_not_kept() {
    let scene = scene();
    put_maps(&scene, 1);
    let target = with(MAPS, "shardSelector=a");
    assert_eq!(scene.client().list(&target).names(), ["c-0"]);
    let asked = scene.server.requests().pop().expect("asked");
    assert_eq!(asked.target, target);
    scene.cut_off(Mode::Refuse);
    for target in [MAPS, &target] {
        let unavailable = (503, "ServiceUnavailable".to_owned());
        assert_eq!(refusal(&scene, target), unavailable, "{target}");
    }
}

#[test]
fn w032_a_body_that_is_too_large_is_the_servers_413_and_is_not_held_in_memory() {
    let scene = scene();
    scene.connected();
    ask(&scene, MAPS);
    let before = scene.memory();
    let answer = scene
        .client()
        .write("POST", MAPS, &object::big_configmap("ns", "big", 3_200_000))
        .expect("an answer");
    let after = scene.memory();
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (413, "RequestEntityTooLarge")
    );
    assert!(after.peak - before.peak < 1536, "{before:?} then {after:?}");
}
