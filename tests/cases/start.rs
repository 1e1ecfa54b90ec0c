//! W082, W084, W085, W088, W089, W091: the node boots without a line.

use std::time::Duration;

use super::BOTH;
use super::MAPS;
use super::PODS_HERE;
use super::PROTOBUF_OR_JSON;
use super::changes;
use super::expires;
use super::hangs;
use super::put_map;
use super::put_maps;
use super::put_pods;
use super::refusal;
use super::scene;
use super::watch_after;
use super::with;
use crate::Scene;
use crate::support::apiserver::kind::CAMERAS;
use crate::support::apiserver::kind::CSINODES;
use crate::support::apiserver::kind::ENDPOINTSLICES;
use crate::support::apiserver::kind::NAMESPACES;
use crate::support::apiserver::kind::NODES;
use crate::support::apiserver::kind::SERVICES;
use crate::support::cable::Mode;
use crate::support::object;
use serde_json::json;

/// A power cycle without a line; returns when the agent knows that there is none.
fn reboot(scene: &mut Scene) {
    scene.kill();
    scene.cut(Mode::Refuse);
    scene.start();
    scene.cut_off(Mode::Refuse);
}

#[test]
fn w082_an_agent_that_starts_serves_all_that_any_client_was_told() {
    let mut scene = scene();
    put_maps(&scene, 20);
    put_pods(&scene);
    scene.server.put(&CAMERAS, object::camera("ns", "a", 25));
    let cameras = CAMERAS.path("");
    let targets = [MAPS, PODS_HERE, &cameras];
    let mut watch = watch_after(&scene, MAPS, scene.client().list(MAPS).version());
    let online: Vec<_> = targets.iter().map(|t| scene.client().list(t)).collect();
    let told: Vec<u64> = (0..30)
        .map(|n| put_map(&scene, &format!("c-{n}")))
        .collect();
    let seen: Vec<u64> = changes(&mut watch, 30).into_iter().map(|c| c.2).collect();
    assert_eq!(seen, told);
    reboot(&mut scene);
    let maps = scene.client().list(MAPS);
    assert!(maps.elapsed < Duration::from_secs(5), "{:?}", maps.elapsed);
    assert_eq!((maps.version(), maps.names().len()), (told[29], 30));
    for (target, online) in targets.iter().zip(online).skip(1) {
        let list = scene.client().list(target);
        assert_eq!(
            (list.version(), &list.body),
            (online.version(), &online.body)
        );
    }
}

#[test]
fn w084_a_csinode_that_is_not_held_is_503_and_never_404() {
    let mut scene = scene();
    let path = CSINODES.path("");
    for name in ["edge-00", "edge-01"] {
        let node = json!({"metadata": {"name": name}, "spec": {"drivers": null}});
        scene.server.put(&CSINODES, node);
    }
    scene
        .client()
        .list(&format!("{path}/edge-01?resourceVersion=0"));
    reboot(&mut scene);
    for query in ["", "?resourceVersion=0"] {
        let missing = refusal(&scene, &format!("{path}/edge-00{query}"));
        assert_eq!(missing, (503, "ServiceUnavailable".to_owned()));
    }
    scene.client().list(&format!("{path}/edge-01"));
}

#[test]
fn w085_a_node_that_is_not_held_is_503_for_its_kubelet() {
    let mut scene = scene();
    put_pods(&scene);
    scene.client().list(PODS_HERE);
    reboot(&mut scene);
    let own = "/api/v1/nodes?fieldSelector=metadata.name%3Dedge-00";
    for query in ["limit=500&resourceVersion=0", BOTH] {
        let missing = refusal(&scene, &with(own, query));
        assert_eq!(missing, (503, "ServiceUnavailable".to_owned()), "{query}");
    }
    let node = refusal(&scene, "/api/v1/nodes/edge-00?resourceVersion=0");
    assert_eq!(node, (503, "ServiceUnavailable".to_owned()));
    assert_eq!(scene.client().list(PODS_HERE).names(), ["p1", "p2"]);
}

#[test]
fn w088_a_client_that_is_ahead_of_what_was_kept_lists_again_and_loses_no_pod() {
    let mut scene = scene();
    put_pods(&scene);
    let version = scene.client().list(PODS_HERE).version();
    reboot(&mut scene);
    let ahead = version + 10;
    expires(&mut watch_after(&scene, PODS_HERE, ahead));
    let again = with(PODS_HERE, &format!("resourceVersion={ahead}"));
    assert_eq!(refusal(&scene, &again), (504, "Timeout".to_owned()));
    let list = scene.client().list(PODS_HERE);
    assert_eq!((list.version(), list.names().len()), (version, 2));
    hangs(&mut watch_after(&scene, PODS_HERE, version));
}

#[test]
fn w089_a_store_that_was_torn_in_a_write_is_an_earlier_state_or_none() {
    let mut scene = scene();
    put_maps(&scene, 5);
    let mut states = vec![scene.client().list(MAPS)];
    let mut watch = watch_after(&scene, MAPS, states[0].version());
    for n in 0..6 {
        put_map(&scene, &format!("c-{n}"));
        watch.change();
        states.push(scene.direct().list(MAPS));
    }
    scene.kill();
    scene.cut(Mode::Refuse);
    let folder = scene.folder().join("state/mirror");
    let files = std::fs::read_dir(folder).expect("the mirror's folder");
    let paths: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    let size = |path: &std::path::PathBuf| path.metadata().expect("its size").len();
    let path = paths.into_iter().max_by_key(size).expect("one collection");
    let whole = std::fs::read(&path).expect("its log");
    let (mut served, mut refused) = (0, 0);
    for step in 0..=20 {
        // Each a different number of bytes into some record.
        let length = whole.len() * step / 20 - step % 3;
        std::fs::write(&path, &whole[..length.min(whole.len())]).expect("written");
        scene.start();
        let answer = scene.client().get(MAPS).expect("an answer");
        if answer.status == 200 {
            served += 1;
            let state = states.iter().find(|state| state.body == answer.body);
            assert!(state.is_some(), "{length} bytes: {}", answer.text());
        } else {
            refused += 1;
            let reason = answer.reason();
            assert_eq!(
                (answer.status, reason.as_str()),
                (503, "ServiceUnavailable")
            );
        }
        scene.kill();
    }
    assert!(
        served > 3 && refused > 3,
        "{served} served, {refused} refused"
    );
}

#[test]
fn w091_kube_proxy_coredns_and_flannel_start_on_what_was_mirrored() {
    let mut scene = scene();
    put_pods(&scene);
    scene.server.put(&SERVICES, object::service("ns", "web"));
    let namespace = json!({"metadata": {"name": "ns"}, "spec": {}, "status": {"phase": "Active"}});
    scene.server.put(&NAMESPACES, namespace);
    let slice = json!({"metadata": {"name": "web-1", "namespace": "ns"}, "addressType": "IPv4", "endpoints": [], "ports": []});
    scene.server.put(&ENDPOINTSLICES, slice);
    let slices = ENDPOINTSLICES.path("");
    let headless = "labelSelector=%21service.kubernetes.io%2Fheadless";
    let proxied = "fieldSelector=spec.clusterIP%21%3DNone&labelSelector=%21service.kubernetes.io%2Fservice-proxy-name";
    let any = "application/vnd.kubernetes.protobuf, */*";
    let requests = [
        (any, with(&with(&slices, headless), BOTH)),
        (any, with(&with("/api/v1/services", proxied), BOTH)),
        (
            any,
            with(
                &with("/api/v1/nodes", "fieldSelector=metadata.name%3Dedge-00"),
                BOTH,
            ),
        ),
        (any, with("/api/v1/services", BOTH)),
        (any, with(&slices, BOTH)),
        (PROTOBUF_OR_JSON, with("/api/v1/namespaces", BOTH)),
        ("application/json, */*", with(&NODES.path(""), BOTH)),
    ];
    let synced = |scene: &Scene| -> Vec<Vec<String>> {
        let ask = |(accept, target): &(&str, String)| {
            let mut watch = scene.client().with("Accept", accept).watching(target);
            let mut lines = Vec::new();
            loop {
                let event = watch.event();
                let over = event.line.contains("k8s.io/initial-events-end");
                lines.push(event.line);
                if over {
                    return lines;
                }
            }
        };
        requests.iter().map(ask).collect()
    };
    let names = [
        "/api/v1/nodes/edge-00?resourceVersion=0",
        "/api/v1/namespaces/ns/pods/p1",
    ];
    // What is held in both encodings may be answered in either.
    let got = |scene: &Scene| {
        names.map(|target| {
            let object = scene.client().with("Accept", PROTOBUF_OR_JSON).list(target);
            (object.json()["kind"].clone(), object.version())
        })
    };
    let (online, gets) = (synced(&scene), got(&scene));
    assert!(online.iter().all(|lines| lines.len() >= 2), "{online:?}");
    reboot(&mut scene);
    assert_eq!(synced(&scene), online);
    assert_eq!(got(&scene), gets);
}
