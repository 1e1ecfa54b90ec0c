//! P09, P17–P20, P25: what is answered while the line is down, to whom, and how often.

use crate::cases::BOTH;
use crate::cases::MAPS;
use crate::cases::PODS_HERE;
use crate::cases::ask;
use crate::cases::hangs;
use crate::cases::initial;
use crate::cases::put_maps;
use crate::cases::put_pods;
use crate::cases::refusal;
use crate::cases::with;
use crate::scene;
use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::apiserver::kind::ENDPOINTSLICES;
use crate::support::apiserver::kind::SERVICES;
use crate::support::cable::Mode;
use crate::support::object;
use serde_json::json;

use super::reboot;

#[test]
fn p09_twenty_clients_that_list_one_resource_at_once_while_cut_off_all_get_it_whole() {
    let scene = scene();
    for n in 0..200 {
        let map = object::contest_configmap("ns", &format!("c-{n:03}"), "many", n);
        scene.server.put(&CONFIGMAPS, map);
    }
    let online = scene.client().list(MAPS);
    let one = scene.client().list(&format!("{MAPS}/c-007"));
    scene.cut_off(Mode::Refuse);
    std::thread::scope(|scope| {
        for n in 0..20 {
            let (scene, online, one) = (&scene, &online, &one);
            scope.spawn(move || {
                for _ in 0..10 {
                    let list = scene.client().list(MAPS);
                    assert!(list.body == online.body, "client {n}: {}", list.text());
                    let got = scene.client().list(&format!("{MAPS}/c-007"));
                    assert_eq!(got.body, one.body, "client {n}");
                }
            });
        }
    });
}

#[test]
fn p17_pods_that_are_known_to_be_none_are_an_empty_list_and_an_informer_that_syncs() {
    let mut scene = scene();
    put_maps(&scene, 1);
    let online = scene.client().list(PODS_HERE);
    assert_eq!(online.names(), [""; 0]);
    scene.cut_off(Mode::Refuse);
    for _ in 0..2 {
        let list = scene.client().list(PODS_HERE);
        assert_eq!(
            (list.version(), &list.body),
            (online.version(), &online.body)
        );
        let mut watch = scene.client().watching(&with(PODS_HERE, BOTH));
        initial(&mut watch, &[], online.version());
        reboot(&mut scene);
    }
}

#[test]
fn p18_after_a_start_offline_each_selector_gets_its_own_objects_or_503_whoever_asks_first() {
    let mut scene = scene();
    for (name, value) in [("a-1", "a"), ("a-2", "a"), ("b-1", "b")] {
        let map = object::configmap("ns", name, &[("k", value)], "x");
        scene.server.put(&CONFIGMAPS, map);
    }
    let selected = |value: &str| with(MAPS, &format!("labelSelector=k%3D{value}"));
    let right = selected("a");
    let online = scene.client().list(&right);
    assert_eq!(online.names(), ["a-1", "a-2"]);
    let unknown = [
        MAPS.to_owned(),
        selected("b"),
        with(MAPS, "labelSelector=k"),
    ];
    for wrong in &unknown {
        reboot(&mut scene);
        for _ in 0..2 {
            let refused = (503, "ServiceUnavailable".to_owned());
            assert_eq!(refusal(&scene, wrong), refused, "{wrong}");
            assert_eq!(scene.client().list(&right).body, online.body, "{wrong}");
        }
    }
    // Where all of them are known, too, each is answered by what it says.
    scene.restore();
    scene.connected();
    scene.client().list(MAPS);
    reboot(&mut scene);
    for (target, names) in [
        (selected("b"), &["b-1"][..]),
        (right, &["a-1", "a-2"]),
        (MAPS.to_owned(), &["a-1", "a-2", "b-1"]),
    ] {
        assert_eq!(scene.client().list(&target).names(), names, "{target}");
    }
}

#[test]
fn p19_the_first_list_of_slices_and_services_is_200_after_a_start_after_a_cut_and_after_a_start_offline()
 {
    let mut scene = scene();
    let slice = json!({"metadata": {"name": "web-1", "namespace": "ns"}, "addressType": "IPv4", "endpoints": [], "ports": []});
    scene.server.put(&ENDPOINTSLICES, slice);
    scene.server.put(&SERVICES, object::service("ns", "web"));
    let targets = [ENDPOINTSLICES.path(""), SERVICES.path("")];
    let first = |scene: &crate::Scene| targets.each_ref().map(|t| scene.client().list(t).body);
    let synced = |scene: &crate::Scene| {
        for (target, name) in targets.iter().zip(["web-1", "web"]) {
            let mut watch = scene.client().watching(&with(target, BOTH));
            initial(&mut watch, &[name], scene.server.version());
        }
    };
    let online = first(&scene);
    scene.restart();
    synced(&scene);
    assert_eq!(first(&scene), online);
    scene.cut(Mode::Refuse);
    assert_eq!(first(&scene), online);
    scene.cut_off(Mode::Refuse);
    assert_eq!(first(&scene), online);
    synced(&scene);
    reboot(&mut scene);
    assert_eq!(first(&scene), online);
    reboot(&mut scene);
    synced(&scene);
}

#[test]
fn p20_a_node_that_was_only_got_by_name_is_answered_while_cut_off_and_after_a_start() {
    let mut scene = scene();
    put_pods(&scene);
    let target = "/api/v1/nodes/edge-00";
    let online = scene.client().list(target);
    scene.cut_off(Mode::Refuse);
    assert_eq!(scene.client().list(target).body, online.body);
    reboot(&mut scene);
    assert_eq!(scene.client().list(target).body, online.body);
    let any_version = with(target, "resourceVersion=0");
    assert_eq!(scene.client().list(&any_version).body, online.body);
    let other = refusal(&scene, "/api/v1/nodes/edge-01");
    assert_eq!(other, (503, "ServiceUnavailable".to_owned()));
}

#[test]
fn p25_what_a_client_calls_itself_decides_nothing() {
    let agents = [
        "",
        "curl/8.5.0",
        "kubelet/v1.36.3 (linux/amd64) kubernetes/0123abc",
        "kube-proxy/v1.36.3 (linux/amd64) kubernetes/0123abc",
        "Go-http-client/1.1",
        "Mozilla/5.0",
        "../../kubelet",
        "ümlaut",
    ];
    for first in ["Go-http-client/1.1", "my-operator", ""] {
        let scene = scene();
        put_maps(&scene, 3);
        let online = scene.client().with("User-Agent", first).list(MAPS);
        // Right after a silent cut, before it was noticed, and after that.
        scene.cut(Mode::Drop);
        for round in 0..2 {
            std::thread::scope(|scope| {
                for name in agents {
                    let (scene, online) = (&scene, &online);
                    scope.spawn(move || {
                        let list = scene.client().with("User-Agent", name).list(MAPS);
                        assert_eq!(list.body, online.body, "{name:?}, round {round}");
                        assert!(list.header("warning").is_some(), "{name:?}");
                    });
                }
            });
        }
        for name in agents {
            let client = scene.client().with("User-Agent", name);
            let mut watch = client.watching(&with(MAPS, BOTH));
            initial(&mut watch, &["c-0", "c-1", "c-2"], online.version());
            hangs(&mut watch);
        }
        assert_eq!(ask(&scene, "/api/v1/services").status, 503);
    }
}
