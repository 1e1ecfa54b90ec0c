//! What the operator is told: /metrics and /status.

use std::collections::BTreeMap;

use crate::scene;
use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::cable::Mode;
use crate::support::object;

const PATH: &str = "/api/v1/namespaces/edge/configmaps";

/// Samples by name and labels; every family has its two comments before it.
fn metrics(scene: &crate::Scene) -> BTreeMap<String, f64> {
    let answer = scene.admin().get("/metrics").expect("an answer");
    let kind = answer.header("content-type").expect("a type");
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    let mut family = String::new();
    let mut samples = BTreeMap::new();
    for line in answer.text().lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            family = name.to_owned();
        } else if !line.starts_with("# HELP ") {
            let (name, value) = line.rsplit_once(' ').expect("a sample");
            let bare = name.split('{').next().unwrap_or_default();
            assert_eq!(bare, family);
            let value = value.parse().expect("a number");
            assert_eq!(
                samples.insert(name.to_owned(), value),
                None,
                "twice: {name}"
            );
        }
    }
    samples
}

#[test]
fn what_was_answered_by_whom_and_what_crossed_the_line_is_counted() {
    let scene = scene();
    scene.connected();
    scene
        .server
        .put(&CONFIGMAPS, object::configmap("edge", "one", &[], "x"));
    let before = metrics(&scene);
    assert_eq!(before["toono_line_up"], 1.0);
    let version = scene.client().list(PATH).version();
    let mut watch = scene
        .client()
        .watching(&format!("{PATH}?watch=true&resourceVersion={version}"));
    scene
        .server
        .patch_labels(&CONFIGMAPS, "edge", "one", &[("a", Some("b"))]);
    watch.change();
    scene.wait("the mirror is fed", || {
        metrics(&scene)["toono_upstream_watches"] == 1.0
    });
    scene.client().list(&format!("{PATH}?resourceVersion=0"));
    let during = metrics(&scene);
    for (name, value) in [
        ("toono_requests_total{verb=\"list\",by=\"cloud\"}", 1.0),
        ("toono_requests_total{verb=\"list\",by=\"mirror\"}", 1.0),
        ("toono_requests_total{verb=\"watch\",by=\"mirror\"}", 1.0),
        ("toono_local_watches", 1.0),
        ("toono_upstream_watches", 1.0),
        ("toono_mirror_collections", 1.0),
        ("toono_mirror_objects", 1.0),
        ("toono_line_connections_total", 1.0),
        ("toono_line_cut_seconds_total", 0.0),
        ("toono_relists_total{cause=\"first\"}", 0.0),
        ("toono_mirror_failing_collections", 0.0),
    ] {
        assert_eq!(during[name], value, "{name}");
    }
    assert_eq!(during["toono_mirror_bytes"], scene.mirror_bytes() as f64);
    let received = "toono_line_bytes_total{direction=\"received\"}";
    assert!(during[received] > before[received]);
    scene.cut(Mode::Refuse);
    scene.client().list(PATH);
    let refused = scene.client().get("/api/v1/pods").expect("an answer");
    assert_eq!(refused.status, 503);
    let cut = metrics(&scene);
    assert_eq!(cut["toono_line_up"], 0.0);
    scene.wait("the cut lasts", || {
        metrics(&scene)["toono_line_cut_seconds_total"] > 0.0
    });
    assert_eq!(
        cut["toono_requests_total{verb=\"list\",by=\"mirror\"}"],
        2.0
    );
    assert_eq!(
        cut["toono_requests_total{verb=\"list\",by=\"nobody\"}"],
        1.0
    );
    scene.server.compact();
    scene
        .server
        .patch_labels(&CONFIGMAPS, "edge", "one", &[("a", Some("c"))]);
    scene.server.compact();
    scene.restore();
    watch.change();
    let again = metrics(&scene);
    assert_eq!(again["toono_relists_total{cause=\"expired\"}"], 1.0);
    assert_eq!(again["toono_line_up"], 1.0);
}

#[test]
fn the_status_says_what_is_held_and_how_old_it_is() {
    let mut scene = scene();
    scene.connected();
    scene
        .server
        .put(&CONFIGMAPS, object::configmap("edge", "one", &[], "x"));
    let version = scene.client().list(PATH).version();
    let mut watch = scene
        .client()
        .watching(&format!("{PATH}?watch=true&resourceVersion={version}"));
    scene
        .server
        .patch_labels(&CONFIGMAPS, "edge", "one", &[("a", Some("b"))]);
    let version = watch.change().version();
    scene.wait("the mirror is fed", || {
        metrics(&scene)["toono_upstream_watches"] == 1.0
    });
    let status = scene.admin().get("/status").expect("an answer").json();
    assert_eq!(status["node"], "edge-00");
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["line"]["health"], "healthy");
    let server = scene.cable.address().to_string();
    assert_eq!(status["line"]["server"], server.as_str());
    let held = &status["mirror"]["collections"][0];
    assert_eq!(held["name"], PATH);
    assert_eq!(held["resourceVersion"], version.to_string());
    assert_eq!(held["objects"], 1);
    assert_eq!(
        (held["live"].as_bool(), held["watches"].as_u64()),
        (Some(true), Some(1))
    );
    assert!(held["ageSeconds"].as_u64().is_some_and(|age| age < 60));
    assert_eq!(held["bytes"], scene.mirror_bytes());
    scene.client().get("/version").expect("an answer");
    let names = |scene: &crate::Scene| -> Vec<String> {
        let status = scene.admin().get("/status").expect("an answer").json();
        let held = status["mirror"]["collections"].as_array().cloned();
        let names = held.unwrap_or_default().into_iter();
        names
            .map(|held| held["name"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    assert!(names(&scene).contains(&"documents".to_owned()));
    drop(watch);
    scene.cut(Mode::Refuse);
    scene.restart();
    scene.client().list(PATH);
    let status = scene.admin().get("/status").expect("an answer").json();
    assert_eq!(status["line"]["health"], "unhealthy");
    let held = status["mirror"]["collections"].as_array().expect("a list");
    let held = held
        .iter()
        .find(|held| held["name"] == PATH)
        .expect("it is held");
    assert_eq!(held["resourceVersion"], version.to_string());
    assert_eq!(held["live"], false);
}
