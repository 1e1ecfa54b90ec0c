//! What a node reads: the objects of a cluster, recorded from a real one of twelve nodes; what a node's components ask; what
//! an hour brings.

use serde_json::Value;
use serde_json::json;

use crate::support::apiserver::ApiServer;
use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::apiserver::kind::CSIDRIVERS;
use crate::support::apiserver::kind::ENDPOINTSLICES;
use crate::support::apiserver::kind::Kind;
use crate::support::apiserver::kind::NODES;
use crate::support::apiserver::kind::PODS;
use crate::support::apiserver::kind::RUNTIMECLASSES;
use crate::support::apiserver::kind::SECRETS;
use crate::support::apiserver::kind::SERVICES;
use crate::support::random::Random;

/// The node.
const NODE: &str = "edge-00";
/// Where what its pods mount is.
const NAMESPACE: &str = "edge-apps";
/// Its pods.
const POD_COUNT: usize = 20;
/// Nodes of the cluster.
const NODE_COUNT: usize = 12;
/// Services and slices that were recorded.
pub(crate) const SERVICE_COUNT: usize = 48;

macro_rules! golden {
    ($name:literal) => {
        include_str!(concat!("../../golden/", $name, ".body"))
    };
}

/// Collections that are asked for in one breath, and what they are.
pub(crate) struct Part {
    /// In words.
    pub(crate) what: String,
    /// Path and selectors of each.
    pub(crate) targets: Vec<String>,
}

/// What the kubelet, kube-proxy and a network plugin of Kubernetes 1.36 list and watch on a node whose pods mount ten config
/// maps and ten secrets.
pub(crate) fn parts() -> Vec<Part> {
    let part = |what: String, targets: Vec<String>| Part { what, targets };
    let one = |what: &str, kind: &Kind, selector: &str| {
        part(
            what.to_owned(),
            vec![format!("{}?{selector}", kind.path(""))],
        )
    };
    let named = |kind: &Kind, number: usize, name: &dyn Fn(usize) -> String| {
        let target = |n| {
            let path = kind.path(NAMESPACE);
            format!("{path}?fieldSelector=metadata.name%3D{}", name(n))
        };
        let what = format!("{number} {}, each by its name", kind.resource);
        part(what, (0..number).map(target).collect())
    };
    let unnamed = "labelSelector=%21service.kubernetes.io%2Fservice-proxy-name";
    vec![
        one(
            "kubelet: its pods",
            &PODS,
            &format!("fieldSelector=spec.nodeName%3D{NODE}"),
        ),
        named(&CONFIGMAPS, 10, &|n| format!("cm-{:02}", 2 * n + 1)),
        named(&SECRETS, 10, &|n| format!("secret-{n:02}")),
        one("kubelet: services", &SERVICES, ""),
        one(
            "kubelet, kube-proxy: their node",
            &NODES,
            &format!("fieldSelector=metadata.name%3D{NODE}"),
        ),
        part(
            "kubelet: csidrivers, runtimeclasses".to_owned(),
            [&CSIDRIVERS, &RUNTIMECLASSES]
                .map(|kind| format!("{}?", kind.path("")))
                .into(),
        ),
        one(
            "kube-proxy: services, but headless ones",
            &SERVICES,
            &format!("fieldSelector=spec.clusterIP%21%3DNone&{unnamed}"),
        ),
        one(
            "kube-proxy: endpointslices",
            &ENDPOINTSLICES,
            "labelSelector=%21service.kubernetes.io%2Fheadless",
        ),
        one("network plugin: all nodes", &NODES, ""),
    ]
}

/// Fills the server with the recorded cluster; services and slices `times` over, of other names and addresses.
pub(crate) fn fill(server: &ApiServer, times: usize) {
    for (kind, list) in [
        (&CONFIGMAPS, golden!("list_configmaps_half_json")),
        (&SECRETS, golden!("list_secrets_json")),
        (&NODES, golden!("list_nodes_json")),
        (&RUNTIMECLASSES, golden!("list_runtimeclasses_json")),
    ] {
        for item in items(list) {
            put(server, kind, item);
        }
    }
    let own = items(golden!("list_pods_json"));
    let others = items(golden!("list_pods_page1"));
    for mut pod in own.into_iter().chain(others).take(POD_COUNT) {
        pod["spec"]["nodeName"] = json!(NODE);
        put(server, &PODS, pod);
    }
    let mut random = Random::seeded(1);
    for time in 0..times {
        for (kind, list) in [
            (&SERVICES, golden!("list_services_json")),
            (&ENDPOINTSLICES, golden!("list_endpointslices_json")),
        ] {
            for mut item in items(list) {
                if time > 0 {
                    rename(&mut item, time, &mut random);
                }
                put(server, kind, item);
            }
        }
    }
}

fn items(list: &str) -> Vec<Value> {
    let mut list: Value = serde_json::from_str(list).expect("a golden list");
    serde_json::from_value(list["items"].take()).expect("items")
}

fn put(server: &ApiServer, kind: &'static Kind, mut item: Value) {
    let metadata = &mut item["metadata"];
    metadata["resourceVersion"] = json!("@RV@");
    let text = |field: &str| metadata[field].as_str().unwrap_or_default().to_owned();
    let (namespace, name) = (text("namespace"), text("name"));
    server.put_text(kind, &namespace, &name, &item.to_string());
}

/// Makes another object of this one, no easier to compress.
fn rename(item: &mut Value, time: usize, random: &mut Random) {
    let metadata = &mut item["metadata"];
    let name = format!("{}-{time}", metadata["name"].as_str().expect("a name"));
    metadata["name"] = json!(name);
    let (high, low) = (random.next(), random.next());
    let uid = format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high >> 4 & 0xfff,
        low >> 48 & 0xfff,
        low & 0xffff_ffff_ffff
    );
    metadata["uid"] = json!(uid);
    let label = metadata.pointer_mut("/labels/kubernetes.io~1service-name");
    if let Some(service) = label
        && let Some(name) = service.as_str()
    {
        *service = json!(format!("{name}-{time}"));
    }
    let address = |random: &mut Random, first: u64| {
        let bits = random.next();
        json!(format!("10.{first}.{}.{}", bits >> 8 & 0xff, bits & 0xff))
    };
    if item["spec"]["clusterIP"].is_string() {
        let own = address(random, 100 + time as u64);
        item["spec"]["clusterIPs"] = json!([own]);
        item["spec"]["clusterIP"] = own;
    }
    let endpoints = item.get_mut("endpoints").and_then(Value::as_array_mut);
    for endpoint in endpoints.into_iter().flatten() {
        endpoint["addresses"] = json!([address(random, 42)]);
        endpoint["targetRef"]["name"] = json!(format!("app-{:08x}", random.next() >> 32));
    }
}

fn change(
    server: &ApiServer,
    kind: &'static Kind,
    namespace: &str,
    name: &str,
    edit: impl FnOnce(&mut Value),
) {
    let text = server.item(kind, namespace, name).expect("it is there");
    let mut item = serde_json::from_str(&text).expect("JSON");
    edit(&mut item);
    put(server, kind, item);
}

/// The objects of a kind, by namespace and name.
fn names(list: &str) -> Vec<(String, String)> {
    let text = |item: &Value, field: &str| {
        item["metadata"][field]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    items(list)
        .iter()
        .map(|item| (text(item, "namespace"), text(item, "name")))
        .collect()
}

/// Moves the version on as an hour of the cluster does: leases, renewed every 10 s. Nothing that the node reads has changed.
pub(crate) fn quiet(server: &ApiServer) {
    server.skip_versions(NODE_COUNT as u64 * 360);
}

/// 50 changes: the node is unreachable and tainted, its 20 pods are not ready, nor are they in 20 slices; 8 config maps get
/// other contents. `turn` tells this hour from others. Returns the events that its collections get.
pub(crate) fn fifty(server: &ApiServer, turn: usize) -> usize {
    let time = format!("2026-11-22T{turn:02}:04:05Z");
    let ready = turn.is_multiple_of(2);
    change(server, &NODES, "", NODE, |node| {
        for condition in node["status"]["conditions"]
            .as_array_mut()
            .into_iter()
            .flatten()
        {
            condition["status"] = json!("Unknown");
            condition["lastTransitionTime"] = json!(time);
            condition["reason"] = json!("NodeStatusUnknown");
            condition["message"] = json!("Kubelet stopped posting node status.");
        }
    });
    change(server, &NODES, "", NODE, |node| {
        node["spec"]["taints"] = json!([
            {"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule", "timeAdded": time},
            {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "timeAdded": time},
        ]);
    });
    let pods = [
        names(golden!("list_pods_json")),
        names(golden!("list_pods_page1")),
    ]
    .concat();
    for (namespace, name) in pods.iter().take(POD_COUNT) {
        change(server, &PODS, namespace, name, |pod| {
            let condition = &mut pod["status"]["conditions"][0];
            condition["status"] = json!(if ready { "True" } else { "False" });
            condition["lastTransitionTime"] = json!(time);
        });
    }
    for (namespace, name) in names(golden!("list_endpointslices_json")).iter().take(20) {
        change(server, &ENDPOINTSLICES, namespace, name, |slice| {
            slice["endpoints"][0]["conditions"]["ready"] = json!(ready);
        });
    }
    for (namespace, name) in names(golden!("list_configmaps_half_json")).iter().take(8) {
        change(server, &CONFIGMAPS, namespace, name, |map| {
            map["data"]["turn"] = json!(time);
        });
    }
    // Two on the node are seen by who asks for it and by who asks for all.
    52
}

/// What the other nodes tell of themselves, every 5 minutes. Returns the events.
pub(crate) fn heartbeats(server: &ApiServer) -> usize {
    let others = || {
        names(golden!("list_nodes_json"))
            .into_iter()
            .filter(|(_, name)| name != NODE)
    };
    for minute in (0..60).step_by(5) {
        for (_, name) in others() {
            change(server, &NODES, "", &name, |node| {
                for condition in node["status"]["conditions"]
                    .as_array_mut()
                    .into_iter()
                    .flatten()
                {
                    condition["lastHeartbeatTime"] =
                        json!(format!("2026-11-22T04:{minute:02}:00Z"));
                }
            });
        }
    }
    12 * others().count()
}
