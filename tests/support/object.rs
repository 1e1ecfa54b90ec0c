//! Sample objects, in the order of keys that a real API server writes.

use serde_json::Value;
use serde_json::json;

/// Labels as a JSON object.
fn labels_of(labels: &[(&str, &str)]) -> Value {
    Value::Object(
        labels
            .iter()
            .map(|(key, value)| ((*key).to_string(), json!(value)))
            .collect(),
    )
}

/// A ConfigMap with one key `test`.
pub fn configmap(namespace: &str, name: &str, labels: &[(&str, &str)], value: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": namespace, "labels": labels_of(labels)},
        "data": {"test": value},
    })
}

/// A ConfigMap as the contest's: about 530 bytes in a list, managed fields included.
pub fn contest_configmap(namespace: &str, name: &str, test: &str, index: usize) -> Value {
    json!({
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"cloud-native-challenge": "benchmark", "type": test},
            "managedFields": [{
                "manager": "benchmark", "operation": "Update", "apiVersion": "v1",
                "time": "2022-07-18T08:00:00Z", "fieldsType": "FieldsV1",
                "fieldsV1": {"f:data": {".": {}, "f:test": {}}, "f:metadata": {"f:labels":
                    {".": {}, "f:cloud-native-challenge": {}, "f:type": {}}}},
            }],
        },
        "data": {"test": index.to_string()},
    })
}

/// A ConfigMap whose one value is `size` bytes long.
pub fn big_configmap(namespace: &str, name: &str, size: usize) -> Value {
    let line = "setting.of.the.line = value of the line, written out at some length\n";
    let text: String = line.chars().cycle().take(size).collect();
    json!({"metadata": {"name": name, "namespace": namespace}, "data": {"test": text}})
}

/// A running Pod bound to `node`.
pub fn pod(namespace: &str, name: &str, node: &str, labels: &[(&str, &str)]) -> Value {
    json!({
        "metadata": {"name": name, "namespace": namespace, "generation": 1, "labels": labels_of(labels)},
        "spec": {
            "containers": [{"name": "main", "image": "registry.example/app:1", "resources": {}}],
            "restartPolicy": "Always", "nodeName": node, "schedulerName": "default-scheduler",
        },
        "status": {"phase": "Running", "podIP": "10.42.0.2"},
    })
}

/// A Service of type ClusterIP.
pub fn service(namespace: &str, name: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080}],
            "clusterIP": "10.96.0.10", "type": "ClusterIP"},
        "status": {"loadBalancer": {}},
    })
}

/// A Node.
pub fn node(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    })
}

/// A Secret.
pub fn secret(namespace: &str, name: &str, value: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": namespace},
        "data": {"token": value},
        "type": "Opaque",
    })
}

/// A custom resource: `cameras.edge.example.com`.
pub fn camera(namespace: &str, name: &str, fps: u32) -> Value {
    json!({
        "apiVersion": "edge.example.com/v1beta2",
        "kind": "Camera",
        "metadata": {"name": name, "namespace": namespace, "labels": {"lane": "1"}},
        "spec": {"url": "rtsp://10.0.0.1/", "fps": fps, "gain": 0.0015},
    })
}
