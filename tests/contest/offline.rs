//! T12–T16, T18–T21: what is answered while the line is cut.

use std::time::Duration;

use serde_json::json;

use super::PATH;
use super::fill;
use super::names;
use super::scene;
use super::selected;
use crate::support::apiserver::Action;
use crate::support::apiserver::Only;
use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::apiserver::kind::PODS;
use crate::support::cable::Mode;
use crate::support::client::Next;
use crate::support::object;

#[test]
fn t12_two_unselected_lists_answer_a_selected_one_after_thirty_seconds_of_silence() {
    let scene = scene();
    scene.server.put(
        &CONFIGMAPS,
        object::configmap("contest", "kube-root-ca.crt", &[], "x"),
    );
    for n in 0..100 {
        let object = object::contest_configmap(
            "contest",
            &format!("benchmark-consistency-{n}"),
            "consistency",
            n,
        );
        let answer = scene
            .client()
            .write("POST", PATH, &object)
            .expect("an answer");
        assert_eq!(answer.status, 201);
    }
    scene.client().list(PATH);
    scene.client().list(PATH);
    scene.cut(Mode::Blackhole);
    // The benchmark's own pause; that the agent has noticed by then, without being asked, is what it tests.
    std::thread::sleep(Duration::from_secs(30));
    let list = scene.client().list(&selected("consistency"));
    assert_eq!(list.names(), names("consistency", 100, false));
    assert!(list.elapsed < Duration::from_secs(1), "{:?}", list.elapsed);
}

#[test]
fn t13_a_list_at_any_moment_after_the_cut_is_answered_within_the_bound() {
    for wait in [0, 1, 5] {
        let scene = scene();
        fill(&scene, "consistency", 20, false);
        scene.client().list(PATH);
        scene.cut(Mode::Drop);
        std::thread::sleep(Duration::from_secs(wait));
        let list = scene.client().list(&selected("consistency"));
        assert_eq!(list.names(), names("consistency", 20, false));
        assert!(
            list.elapsed < Duration::from_secs(5),
            "{wait} s after the cut: {:?}",
            list.elapsed
        );
    }
}

#[test]
fn t14_faults_of_the_line_go_to_the_mirror_and_answers_of_the_server_to_the_client() {
    let scene = scene();
    fill(&scene, "faults", 20, false);
    let online = scene.client().list(PATH);
    for status in [500, 503, 429, 403, 401] {
        scene
            .server
            .fail("configmaps", Only::Lists, 1, Action::Status(status));
        let answer = scene.client().get(PATH).expect("an answer");
        assert_eq!(
            answer.status,
            status,
            "the API server's own answer passes: {}",
            answer.text()
        );
        assert_eq!(answer.json()["kind"], "Status");
    }
    // A box on the way answers in its own words: that is no answer of the API server.
    scene.server.fail(
        "configmaps",
        Only::Lists,
        1,
        Action::Answer {
            status: 502,
            headers: vec![("content-type", "text/html".to_owned())],
            body: b"<html>bad gateway</html>".to_vec(),
        },
    );
    assert_eq!(scene.client().list(PATH).names(), online.names());
    // Cut in the middle of a body: the client's connection is broken off, or it gets the whole list, never a short one.
    scene
        .server
        .fail("configmaps", Only::Lists, 1, Action::CutAfter(3000));
    match scene.client().get(PATH) {
        Ok(answer) => assert_eq!(answer.names(), online.names()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    for mode in [Mode::Refuse, Mode::Reset, Mode::Stall, Mode::Blackhole] {
        scene.cut(mode);
        let list = scene.client().list(PATH);
        assert_eq!(list.names(), online.names(), "{mode:?}");
        assert!(
            list.elapsed < Duration::from_secs(5),
            "{mode:?}: {:?}",
            list.elapsed
        );
        scene.restore();
        scene.connected();
        scene.wait("the server is asked again", || {
            scene.client().list(PATH).header("warning").is_none()
        });
    }
}

#[test]
fn t15_label_selectors_mean_offline_what_they_mean_online() {
    let scene = scene();
    for (name, labels) in [
        ("a", &[("tier", "web"), ("zone", "1")][..]),
        ("b", &[("tier", "db"), ("zone", "2")]),
        ("c", &[("tier", "web")]),
        ("d", &[("zone", "")]),
        ("e", &[]),
    ] {
        scene
            .server
            .put(&CONFIGMAPS, object::configmap("contest", name, labels, "x"));
    }
    let selectors = [
        "tier%3Dweb",
        "tier%3D%3Dweb",
        "tier!%3Dweb",
        "tier+in+(web,db)",
        "tier+notin+(web)",
        "tier",
        "!tier",
        "zone%3D",
        "tier%3Dweb,zone",
        "tier%3Dweb,!zone",
        "zone+in+(1,2),tier!%3Ddb",
        "",
    ];
    let ask = |selector: &str| {
        scene
            .client()
            .list(&format!("{PATH}?labelSelector={selector}"))
            .names()
    };
    let online: Vec<Vec<String>> = selectors.iter().map(|selector| ask(selector)).collect();
    scene.client().list(PATH);
    // Only the whole collection is known to the agent that starts now.
    let mut scene = scene;
    scene.cut(Mode::Refuse);
    scene.kill();
    keep_largest_file(&scene);
    scene.start();
    for (selector, expected) in selectors.iter().zip(online) {
        let names = scene
            .client()
            .list(&format!("{PATH}?labelSelector={selector}"))
            .names();
        assert_eq!(names, expected, "{selector}");
    }
    for wrong in ["tier%3D%3D%3D", "-a", "a%3Db%3Dc", "(a)"] {
        let answer = scene
            .client()
            .get(&format!("{PATH}?labelSelector={wrong}"))
            .expect("an answer");
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (400, "BadRequest"),
            "{wrong}"
        );
    }
}

/// Leaves only the mirror's largest file: that of the collection without a selector.
fn keep_largest_file(scene: &crate::Scene) {
    let folder = scene.folder().join("state/mirror");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the mirror's folder")
        .map(|file| file.expect("a file"))
        .map(|file| (file.metadata().expect("its size").len(), file.path()))
        .collect();
    files.sort();
    files.pop();
    for (_, path) in files {
        std::fs::remove_file(path).expect("removed");
    }
}

#[test]
fn t16_field_selectors_find_the_right_objects_offline() {
    let scene = scene();
    for (name, node) in [("a", "edge-00"), ("b", "edge-01"), ("c", "edge-00")] {
        scene
            .server
            .put(&PODS, object::pod("contest", name, node, &[]));
    }
    scene.client().list("/api/v1/pods");
    scene.cut(Mode::Refuse);
    let names = |fields: &str| {
        scene
            .client()
            .list(&format!("/api/v1/pods?fieldSelector={fields}"))
            .names()
    };
    assert_eq!(names("spec.nodeName%3Dedge-00"), ["a", "c"]);
    assert_eq!(names("spec.nodeName!%3Dedge-00"), ["b"]);
    assert_eq!(names("metadata.name%3Db"), ["b"]);
    assert_eq!(
        names("metadata.namespace%3Dcontest,spec.nodeName%3Dedge-01"),
        ["b"]
    );
    assert_eq!(names("metadata.namespace%3Dother"), [""; 0]);
    let wrong = scene
        .client()
        .get("/api/v1/pods?fieldSelector=spec.priority%3D1")
        .expect("an answer");
    assert_eq!((wrong.status, wrong.reason().as_str()), (400, "BadRequest"));
    assert!(wrong.text().contains("spec.priority"), "{}", wrong.text());
    // The kubelet's own collection is complete in itself.
    scene.restore();
    scene.connected();
    let own = "/api/v1/pods?fieldSelector=spec.nodeName%3Dedge-01";
    scene.wait("the line is back", || {
        scene.client().list(own).header("warning").is_none()
    });
    scene.cut(Mode::Refuse);
    assert_eq!(scene.client().list(own).names(), ["b"]);
}

#[test]
fn t18_what_a_watch_brought_is_in_the_offline_list() {
    let scene = scene();
    fill(&scene, "watched", 5, false);
    let version = scene.client().list(PATH).version();
    let mut watch = scene
        .client()
        .watching(&format!("{PATH}?resourceVersion={version}&watch=true"));
    scene
        .server
        .put(&CONFIGMAPS, object::configmap("contest", "new", &[], "1"));
    scene.server.patch(
        &CONFIGMAPS,
        "contest",
        "benchmark-watched-1",
        &json!({"data": {"test": "changed"}}),
    );
    scene
        .server
        .delete(&CONFIGMAPS, "contest", "benchmark-watched-2");
    let last = (0..3).map(|_| watch.change()).last().expect("three");
    scene.cut(Mode::Drop);
    let list = scene.client().list(PATH);
    let mut expected = names("watched", 5, false);
    expected.retain(|name| name != "benchmark-watched-2");
    expected.push("new".to_owned());
    assert_eq!(list.names(), expected);
    assert_eq!(list.version(), last.version());
    assert!(
        list.item_texts()
            .iter()
            .any(|item| item.contains("changed"))
    );
    assert_eq!(
        list.text(),
        scene.direct().list(PATH).text(),
        "and nothing in it tells that it came so"
    );
}

#[test]
fn t19_a_restart_while_cut_off_serves_the_same_also_after_kill() {
    let mut scene = scene();
    fill(&scene, "restart", 100, false);
    let online = scene.client().list(PATH);
    scene.cut(Mode::Refuse);
    for _ in 0..3 {
        scene.restart();
        let list = scene.client().list(PATH);
        assert_eq!(list.text(), online.text());
        assert!(
            list.header("warning")
                .is_some_and(|warning| warning.starts_with("299 "))
        );
    }
    let (_, well) = scene.terminate();
    assert!(well);
    scene.start();
    assert_eq!(scene.client().list(PATH).text(), online.text());
}

#[test]
fn t20_an_informer_that_starts_offline_lists_and_watches_quietly() {
    let scene = scene();
    fill(&scene, "informer", 10, false);
    scene.client().list(PATH);
    scene.cut(Mode::Refuse);
    let list = scene
        .client()
        .list(&format!("{PATH}?limit=500&resourceVersion=0"));
    assert_eq!(list.names().len(), 10);
    let mut watch = scene.client().watching(&format!(
        "{PATH}?allowWatchBookmarks=true&resourceVersion={}&timeoutSeconds=2&watch=true",
        list.version()
    ));
    let (events, end) = watch.collect(Duration::from_secs(10));
    assert!(matches!(end, Next::Ended), "ends well at its time: {end:?}");
    assert!(!events.is_empty() && events.iter().all(|event| event.event == "BOOKMARK"));
    assert!(
        events.iter().all(|event| event.version() == list.version()),
        "no version is made up"
    );
    let mut both = scene.client().watching(&format!(
        "{PATH}?watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
    ));
    let events: Vec<_> = (0..11).map(|_| both.event()).collect();
    assert!(events[10].line.contains("initial-events-end"));
    assert_eq!(events[10].version(), list.version());
}

#[test]
fn t21_what_cannot_be_answered_is_a_status_and_the_connection_goes_on() {
    let scene = scene();
    fill(&scene, "refused", 2, false);
    scene.client().list(PATH);
    scene.cut_off(Mode::Refuse);
    let mut connection = scene.client().open().expect("the door is open");
    for (method, target, body) in [
        ("POST", PATH.to_owned(), &b"{}"[..]),
        ("PATCH", format!("{PATH}/benchmark-refused-0"), b"{}"),
        ("DELETE", format!("{PATH}/benchmark-refused-0"), b""),
        ("GET", "/version".to_owned(), b""),
        ("GET", "/api/v1/secrets".to_owned(), b""),
        (
            "GET",
            "/api/v1/secrets?watch=true&resourceVersion=7".to_owned(),
            b"",
        ),
        (
            "GET",
            "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases".to_owned(),
            b"",
        ),
    ] {
        let answer = connection
            .request(
                method,
                &target,
                &[("Content-Type", "application/json")],
                body,
            )
            .expect("an answer");
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (503, "ServiceUnavailable"),
            "{method} {target}"
        );
        assert_eq!(answer.json()["kind"], "Status");
        assert_eq!(
            answer.header("retry-after").is_some(),
            target.contains("watch=true"),
            "{method} {target}"
        );
    }
    let list = connection
        .request("GET", PATH, &[], b"")
        .expect("the connection goes on");
    assert_eq!(list.names().len(), 2);
}
