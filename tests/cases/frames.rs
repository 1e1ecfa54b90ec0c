//! W004, W041, W104, W110, and what else is protobuf's own: frames, gaps in lists, fields of later versions, and clients of
//! both encodings beside each other.

use std::time::Duration;

use super::BOTH;
use super::MAPS;
use super::PODS_HERE;
use super::PROTOBUF_OR_JSON;
use super::bookmark_at;
use super::changes;
use super::hangs;
use super::initial;
use super::put_map;
use super::put_maps;
use super::put_pods;
use super::refusal;
use super::scene;
use super::scene_with;
use super::watch_after;
use super::with;
use crate::Scene;
use crate::support::apiserver::Action;
use crate::support::apiserver::Only;
use crate::support::apiserver::Options;
use crate::support::apiserver::kind::CAMERAS;
use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::apiserver::kind::NAMESPACES;
use crate::support::apiserver::kind::NODES;
use crate::support::apiserver::kind::PODS;
use crate::support::apiserver::kind::SECRETS;
use crate::support::cable::Mode;
use crate::support::client::Client;
use crate::support::client::Next;
use crate::support::object;
use crate::support::protobuf;
use serde_json::json;

/// A power cycle without a line.
fn reboot(scene: &mut Scene) {
    scene.kill();
    scene.cut(Mode::Refuse);
    scene.start();
    scene.cut_off(Mode::Refuse);
}

fn in_json(scene: &Scene) -> Client {
    scene.client().with("Accept", "application/json")
}

#[test]
fn w004_each_frame_is_the_servers_byte_for_byte_whatever_its_size() {
    let scene = scene();
    put_maps(&scene, 2);
    let version = scene.client().list(MAPS).version();
    let target = format!("{MAPS}?resourceVersion={version}&watch=true");
    let (mut ours, mut theirs) = (
        scene.client().watching(&target),
        scene.direct().watching(&target),
    );
    assert!(ours.is_protobuf() && theirs.is_protobuf());
    for n in 0..20 {
        let map = object::big_configmap("ns", &format!("c-{}", n % 4), 7 << n.min(18));
        let version = scene.server.put(&CONFIGMAPS, map);
        let event = ours.event();
        assert_eq!(event.version(), version);
        assert!(event.line == theirs.event().line, "the {n}th");
    }
    scene.server.delete(&CONFIGMAPS, "ns", "c-0");
    assert_eq!(ours.event().line, theirs.event().line);
}

#[test]
fn w041_a_filtered_list_is_read_again_with_its_items_its_version_and_all_that_follows() {
    let scene = scene();
    for n in 0..30 {
        let skip = if n % 3 == 0 { "skip-" } else { "" };
        let mut map = object::big_configmap("ns", &format!("{skip}c-{n:02}"), 10 << (n % 12));
        map["data"]["secret"] = json!(format!("{skip}hidden"));
        scene.server.put(&CONFIGMAPS, map);
    }
    let theirs = scene.direct().list(MAPS);
    for client in [
        scene.client(),
        scene.client().with("Accept-Encoding", "gzip").in_protobuf(),
    ] {
        // To be read it must end in the fields that follow the list in its envelope.
        let ours = client.list(MAPS);
        let names: Vec<_> = theirs
            .names()
            .into_iter()
            .filter(|n| !n.starts_with("skip-"))
            .collect();
        assert_eq!((ours.names(), names.len()), (names, 20));
        assert_eq!(ours.version(), theirs.version());
        let known = theirs.item_texts();
        assert!(ours.item_texts().iter().all(|item| known.contains(item)));
        assert!(!ours.text().contains("skip-"), "nothing of them is left");
    }
    // A page says how to go on, and not how many are left.
    let page = scene.client().list(&with(MAPS, "limit=7"));
    let metadata = page.json()["metadata"].clone();
    assert!(
        metadata["continue"]
            .as_str()
            .is_some_and(|token| !token.is_empty())
    );
    assert_eq!(metadata.get("remainingItemCount"), None, "{metadata}");
}

#[test]
fn w104_a_frame_of_four_gigabytes_is_broken_off_and_nothing_of_that_size_is_held() {
    let scene = scene();
    put_maps(&scene, 1);
    let mut body = vec![0xff; 4];
    body.extend(vec![0x0a; 100_000]);
    let huge = Action::Answer {
        status: 200,
        headers: vec![("content-type", protobuf::STREAM.to_owned())],
        body,
    };
    let version = scene.client().list(MAPS).version();
    let before = scene.memory();
    // Of a watch that is mirrored it is the agent's business.
    scene
        .server
        .fail("configmaps", Only::Watches, 1, huge.clone());
    let mut watch = watch_after(&scene, MAPS, version);
    let version = put_map(&scene, "c-1");
    assert_eq!(watch.change().version(), version);
    // Of one that passes it ends the client's connection.
    scene.server.fail("leases", Only::Watches, 1, huge);
    let leases = "/apis/coordination.k8s.io/v1/leases?watch=true&resourceVersion=1";
    if let Ok(mut watch) = scene.client().watch(leases) {
        let next = watch.next(Duration::from_secs(10));
        assert!(matches!(next, Next::Broken(_)), "{next:?}");
    }
    let after = scene.memory();
    assert!(
        after.peak - before.peak < 2 * 1024,
        "{before:?} then {after:?}"
    );
}

#[test]
fn w110_a_field_of_a_later_version_survives_mirror_restart_and_deletion() {
    let mut scene = scene();
    for (name, labels) in [("p1", &[("k", "v")][..]), ("p2", &[])] {
        let mut pod = object::pod("ns", name, "edge-00", labels);
        pod["@5000"] = json!("of a later Kubernetes");
        pod["metadata"]["@99"] = json!("there too");
        scene.server.put(&PODS, pod);
    }
    let survived = |object: &serde_json::Value| {
        assert_eq!(object["@5000"], "of a later Kubernetes", "{object}");
        assert_eq!(object["metadata"]["@99"], "there too", "{object}");
    };
    let online = scene.client().list(PODS_HERE);
    online.items().iter().for_each(survived);
    reboot(&mut scene);
    assert_eq!(scene.client().list(PODS_HERE).body, online.body);
    survived(&scene.client().list("/api/v1/namespaces/ns/pods/p1").json());
    // One stops matching, one is found missing: both are told with what they were and another version.
    let selected = with(PODS_HERE, "labelSelector=k%3Dv");
    let mut narrow = watch_after(&scene, &selected, online.version());
    let mut all = watch_after(&scene, PODS_HERE, online.version());
    let stopped = scene.server.patch_labels(&PODS, "ns", "p1", &[("k", None)]);
    scene.server.delete(&PODS, "ns", "p2");
    scene.server.compact();
    scene.restore();
    let gone = narrow.change();
    assert_eq!((gone.event.as_str(), gone.name()), ("DELETED", "p1"));
    assert_eq!(Some(gone.version()), stopped);
    survived(&gone.object);
    let changed = [all.change(), all.change()];
    let gone = changed.iter().find(|change| change.event == "DELETED");
    let gone = gone.expect("p2 is missing");
    assert!(gone.version() > online.version());
    survived(&gone.object);
}

#[test]
fn fields_are_selected_by_in_protobuf_as_the_server_does() {
    let scene = scene();
    put_pods(&scene);
    for (name, phase, host) in [("q1", "Pending", true), ("q2", "Running", false)] {
        let mut pod = object::pod("ns", name, "edge-00", &[]);
        pod["spec"]["hostNetwork"] = json!(host);
        pod["status"] = json!({"phase": phase, "podIP": format!("10.0.0.{}", name.len())});
        scene.server.put(&PODS, pod);
    }
    let mut cordoned = object::node("edge-02");
    cordoned["spec"]["unschedulable"] = json!(true);
    scene.server.put(&NODES, cordoned);
    for (name, of) in [("s1", "Opaque"), ("s2", "kubernetes.io/tls")] {
        let mut secret = object::secret("ns", name, "eHh4");
        secret["type"] = json!(of);
        scene.server.put(&SECRETS, secret);
    }
    for (name, phase) in [("a", "Active"), ("b", "Terminating")] {
        let namespace = json!({"metadata": {"name": name}, "spec": {}, "status": {"phase": phase}});
        scene.server.put(&NAMESPACES, namespace);
    }
    let queries = [
        ("/api/v1/pods", "spec.nodeName%3Dedge-01"),
        ("/api/v1/pods", "spec.hostNetwork%3Dtrue"),
        ("/api/v1/pods", "spec.hostNetwork%3Dfalse"),
        ("/api/v1/pods", "status.phase%3DRunning"),
        (
            "/api/v1/pods",
            "status.phase%21%3DRunning,spec.nodeName%3Dedge-00",
        ),
        ("/api/v1/pods", "status.podIP%3D10.0.0.2"),
        (
            "/api/v1/pods",
            "spec.restartPolicy%3DAlways,metadata.name%3Dp1",
        ),
        ("/api/v1/nodes", "spec.unschedulable%3Dtrue"),
        ("/api/v1/nodes", "spec.unschedulable%3Dfalse"),
        ("/api/v1/secrets", "type%3Dkubernetes.io%2Ftls"),
        ("/api/v1/namespaces", "status.phase%3DActive"),
    ];
    for path in ["pods", "nodes", "secrets", "namespaces"] {
        scene.client().list(&format!("/api/v1/{path}"));
    }
    scene.cut_off(Mode::Refuse);
    for (path, fields) in queries {
        let target = format!("{path}?fieldSelector={fields}");
        let theirs = in_json(&scene).get(&target).expect("an answer");
        assert_eq!(theirs.status, 406, "held in protobuf alone");
        let named = scene
            .direct()
            .with("Accept", "application/json")
            .list(&target)
            .names();
        assert!(!named.is_empty(), "{fields}");
        assert_eq!(scene.client().list(&target).names(), named, "{fields}");
    }
}

#[test]
fn metadata_alone_is_made_of_what_is_held_in_protobuf() {
    const LIST: &str =
        "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    const ONE: &str =
        "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    let scene = scene();
    for name in ["a", "skip-b", "c"] {
        let labels = [("k", "v")];
        let map = object::configmap("ns", name, &labels, "what is not metadata");
        scene.server.put(&CONFIGMAPS, map);
    }
    let version = scene.client().list(MAPS).version();
    let lister = scene.client().with("Accept", LIST);
    let online = lister.list(MAPS);
    assert!(online.is_protobuf());
    assert_eq!(online.names(), ["a", "c"]);
    scene.cut_off(Mode::Refuse);
    let list = lister.list(MAPS);
    assert_eq!(list.json()["kind"], "PartialObjectMetadataList");
    assert_eq!(list.json()["apiVersion"], "meta.k8s.io/v1");
    assert_eq!(
        (list.version(), list.item_texts()),
        (version, online.item_texts())
    );
    assert!(!list.text().contains("what is not metadata"));
    let one = scene.client().with("Accept", ONE);
    let object = one.list(&format!("{MAPS}/a"));
    assert_eq!(object.json()["kind"], "PartialObjectMetadata");
    assert_eq!(object.json()["metadata"]["labels"]["k"], "v");
    assert!(!object.text().contains("what is not metadata"));
    let mut watch = one.watching(&with(MAPS, BOTH));
    assert!(watch.is_protobuf());
    initial(&mut watch, &["a", "c"], version);
    scene.restore();
    let version = put_map(&scene, "c");
    let change = watch.change();
    assert_eq!(
        (change.version(), change.object["kind"].as_str()),
        (version, Some("PartialObjectMetadata"))
    );
    assert!(!change.line.contains("test"), "{}", change.line);
}

#[test]
fn clients_of_both_encodings_have_each_its_own_log_of_one_collection() {
    let mut scene = scene();
    put_maps(&scene, 3);
    let of = |scene: &Scene| {
        [
            in_json(scene),
            scene.client().with("Accept", protobuf::MEDIA),
        ]
    };
    let clients = of(&scene);
    let versions = clients.each_ref().map(|client| client.list(MAPS).version());
    assert_eq!(versions[0], versions[1]);
    let query = format!("resourceVersion={}&watch=true", versions[0]);
    let mut watches = clients
        .each_ref()
        .map(|client| client.watching(&with(MAPS, &query)));
    assert_eq!(
        watches.each_ref().map(|watch| watch.is_protobuf()),
        [false, true]
    );
    let told = |watch: &mut _| changes(watch, 4);
    put_map(&scene, "c-1");
    scene.server.delete(&CONFIGMAPS, "ns", "c-2");
    put_map(&scene, "skip-0");
    put_map(&scene, "c-3");
    let last = put_map(&scene, "c-0");
    let [json, protobuf] = &mut watches;
    assert_eq!(told(json), told(protobuf));
    assert_eq!(scene.server.watches_open(), 2);
    reboot(&mut scene);
    let lists = of(&scene).map(|client| client.list(MAPS));
    assert_eq!(
        lists.each_ref().map(|list| list.is_protobuf()),
        [false, true]
    );
    for list in &lists {
        assert_eq!(
            (list.version(), list.names()),
            (
                last,
                vec!["c-0".to_owned(), "c-1".to_owned(), "c-3".to_owned()]
            )
        );
    }
    // What each was told before the power went it is told again.
    for client in of(&scene) {
        let mut watch = client.watching(&with(MAPS, &query));
        let seen: Vec<_> = changes(&mut watch, 4)
            .into_iter()
            .map(|change| change.1)
            .collect();
        assert_eq!(seen, ["c-1", "c-2", "c-3", "c-0"]);
        hangs(&mut watch);
    }
}

#[test]
fn who_takes_both_is_served_from_the_log_that_is_fed_and_the_line_is_not_used_twice() {
    let mut scene = scene();
    put_maps(&scene, 2);
    // Held in protobuf once, and in JSON by a watch that runs.
    let version = scene.client().list(MAPS).version();
    let mut json = in_json(&scene).watching(&with(MAPS, BOTH));
    initial_json(&mut json, version);
    let last = put_map(&scene, "c-1");
    assert_eq!(json.change().version(), last);
    scene.server.forget_requests();
    let both = scene.client().with("Accept", PROTOBUF_OR_JSON);
    let list = both.list(&with(MAPS, "resourceVersion=0"));
    assert_eq!((list.is_protobuf(), list.version()), (false, last));
    let query =
        |version: u64| format!("allowWatchBookmarks=true&resourceVersion={version}&watch=true");
    let mut watch = both.watching(&with(MAPS, &query(last)));
    bookmark_at(&mut watch, last);
    assert!(!watch.is_protobuf());
    assert_eq!(scene.server.requests().len(), 0);
    // After a power cycle nothing is fed, and the log in protobuf has not come so far: it must not send the client round.
    reboot(&mut scene);
    let both = scene.client().with("Accept", PROTOBUF_OR_JSON);
    let list = both.list(MAPS);
    assert_eq!(list.version(), last);
    let mut watch = both.watching(&with(MAPS, &query(last)));
    bookmark_at(&mut watch, last);
    hangs(&mut watch);
    // Nor back in time.
    let mut watch = both.watching(&with(MAPS, BOTH));
    initial_json(&mut watch, last);
    // Who reads protobuf alone is told what is held in protobuf.
    let only = scene.client().with("Accept", protobuf::MEDIA);
    let list = only.list(MAPS);
    assert_eq!((list.is_protobuf(), list.version()), (true, version));
    let mut watch = only.watching(&with(MAPS, &query(version)));
    bookmark_at(&mut watch, version);
    hangs(&mut watch);
}

/// The initial events of `c-0` and `c-1`.
fn initial_json(watch: &mut crate::support::client::Watch, version: u64) {
    assert!(!watch.is_protobuf());
    initial(watch, &["c-0", "c-1"], version);
}

#[test]
fn custom_resources_are_json_for_who_takes_both_and_406_for_who_takes_protobuf_alone() {
    let mut scene = scene();
    scene.server.put(&CAMERAS, object::camera("ns", "a", 25));
    let path = CAMERAS.path("ns");
    let only = |scene: &Scene| scene.client().with("Accept", protobuf::MEDIA);
    let refused = |scene: &Scene| {
        let answer = only(scene).get(&path).expect("an answer");
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (406, "NotAcceptable")
        );
        assert!(answer.is_protobuf(), "in what it reads");
    };
    refused(&scene);
    let list = scene.client().list(&path);
    assert!(!list.is_protobuf());
    let mut watch = watch_after(&scene, &path, list.version());
    let version = scene.server.put(&CAMERAS, object::camera("ns", "b", 30));
    let added = ("ADDED".to_owned(), "b".to_owned(), version);
    assert_eq!(changes(&mut watch, 1), [added]);
    reboot(&mut scene);
    refused(&scene);
    assert_eq!(scene.client().list(&path).names(), ["a", "b"]);
}

#[test]
fn an_object_that_is_gone_is_forgotten_in_both_encodings() {
    let scene = scene();
    put_maps(&scene, 1);
    let target = format!("{MAPS}/c-0");
    in_json(&scene).list(&target);
    scene.client().list(&target);
    scene.server.delete(&CONFIGMAPS, "ns", "c-0");
    assert_eq!(refusal(&scene, &target), (404, "NotFound".to_owned()));
    scene.cut_off(Mode::Refuse);
    for client in [in_json(&scene), scene.client()] {
        assert_eq!(client.get(&target).expect("an answer").status, 503);
    }
}

#[test]
fn refusals_are_in_protobuf_for_who_reads_nothing_else() {
    let scene = scene();
    put_maps(&scene, 1);
    scene.connected();
    let only = scene.client().with("Accept", protobuf::MEDIA);
    let told = |target: &str, code: u16| {
        let answer = only.get(target).expect("an answer");
        assert_eq!(answer.status, code, "{target}");
        answer.reason();
        assert!(answer.is_protobuf(), "{target}");
    };
    told(&format!("{MAPS}?labelSelector=-a"), 400);
    told(&format!("{MAPS}/skip-none"), 404);
    told(&format!("{MAPS}/none"), 404);
    let page = Action::Answer {
        status: 503,
        headers: vec![("content-type", "text/html".to_owned())],
        body: b"<html>no healthy upstream</html>".to_vec(),
    };
    scene.server.fail("services", Only::All, 10, page);
    told(&with("/api/v1/services", BOTH), 503);
    scene.cut_off(Mode::Refuse);
    told(MAPS, 503);
    told(&format!("{MAPS}?watch=true"), 503);
}

#[test]
fn bodies_in_protobuf_are_written_and_answered_in_protobuf() {
    let scene = scene_with(Options::default(), &[]);
    scene.connected();
    let media = [("Content-Type", protobuf::MEDIA)];
    let mut map = object::configmap("ns", "posted", &[("k", "v")], "x");
    map["kind"] = json!("ConfigMap");
    map["apiVersion"] = json!("v1");
    let body = protobuf::encode(&map).expect("a ConfigMap");
    let posted = scene
        .client()
        .request("POST", MAPS, &media, &body)
        .expect("an answer");
    assert!(
        posted.status == 201 && posted.is_protobuf(),
        "{}",
        posted.text()
    );
    let mut map = posted.json();
    assert_eq!(map["metadata"]["labels"]["k"], "v");
    map["data"]["test"] = json!("y");
    let body = protobuf::encode(&map).expect("a ConfigMap");
    let target = format!("{MAPS}/posted");
    let put = scene
        .client()
        .request("PUT", &target, &media, &body)
        .expect("an answer");
    assert!(put.status == 200 && put.is_protobuf(), "{}", put.text());
    assert_eq!(
        scene
            .server
            .requests()
            .last()
            .map(|asked| asked.body.clone()),
        Some(body.clone())
    );
    assert_eq!(scene.client().list(&target).json()["data"]["test"], "y");
    // The same once more is of a version that has passed.
    let stale = scene
        .client()
        .request("PUT", &target, &media, &body)
        .expect("an answer");
    assert_eq!((stale.status, stale.reason().as_str()), (409, "Conflict"));
}
