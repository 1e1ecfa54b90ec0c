//! W001–W015: lists, watches and gets while the line is up.

use std::time::Duration;
use std::time::Instant;

use super::BOTH;
use super::MAPS;
use super::PODS_HERE;
use super::PROTOBUF;
use super::PROTOBUF_OR_JSON;
use super::ask;
use super::expires;
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
use crate::support::apiserver::Action;
use crate::support::apiserver::Only;
use crate::support::apiserver::Options;
use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::cable::Mode;
use crate::support::client::Next;
use crate::support::object;

#[test]
fn w001_the_kubelets_first_list_is_the_servers_byte_for_byte() {
    let scene = scene();
    put_pods(&scene);
    let target = with(PODS_HERE, "limit=500&resourceVersion=0");
    let ask = |client: crate::support::client::Client| {
        client.with("Accept", PROTOBUF_OR_JSON).list(&target)
    };
    let (ours, theirs) = (ask(scene.client()), ask(scene.direct()));
    assert_eq!(ours.names(), ["p1", "p2"]);
    assert_eq!(ours.body, theirs.body);
    assert_eq!(ours.header("content-type"), theirs.header("content-type"));
}

#[test]
fn w002_a_large_list_is_gzip_or_plain_and_the_same_either_way() {
    for extra in [&[][..], &["--drop-name-prefix", "skip-"]] {
        let scene = scene_with(Options::default(), extra);
        for n in 0..100 {
            let name = format!("c-{n}");
            scene
                .server
                .put(&CONFIGMAPS, object::big_configmap("ns", &name, 2_000));
        }
        let theirs = scene.direct().list(MAPS).text();
        assert!(theirs.len() > 128 * 1024);
        let packed = scene.client().with("Accept-Encoding", "gzip").list(MAPS);
        assert_eq!(packed.text(), theirs);
        match packed.header("content-encoding") {
            Some("gzip") => assert_eq!(packed.header("vary"), Some("Accept-Encoding")),
            other => assert_eq!(other, None),
        }
        let plain = scene.client().list(MAPS);
        assert_eq!(plain.header("content-encoding"), None);
        assert_eq!(plain.text(), theirs);
    }
}

#[test]
fn w003_each_event_is_a_line_that_comes_before_the_next_change_is_made() {
    let scene = scene();
    put_maps(&scene, 2);
    let target = format!(
        "{MAPS}?resourceVersion={}&watch=true",
        scene.client().list(MAPS).version()
    );
    let mut ours = scene.client().watching(&target);
    let mut theirs = scene.direct().watching(&target);
    for n in 0..20 {
        let version = put_map(&scene, &format!("c-{}", n % 4));
        let event = ours.event();
        assert_eq!(event.version(), version);
        assert_eq!(event.line, theirs.event().line);
    }
}

#[test]
fn w005_a_watch_with_timeout_seconds_ends_well_at_its_time() {
    let scene = scene();
    put_maps(&scene, 1);
    let version = scene.client().list(MAPS).version();
    let began = Instant::now();
    let mut watch = watch_after(&scene, &with(MAPS, "timeoutSeconds=5"), version);
    let (_, end) = watch.collect(Duration::from_secs(20));
    assert!(matches!(end, Next::Ended), "with its last chunk: {end:?}");
    let lasted = began.elapsed().as_secs_f64();
    assert!((4.0..10.0).contains(&lasted), "{lasted} s");
}

#[test]
fn w006_an_idle_watch_is_sent_bookmarks_whose_version_never_goes_back() {
    let options = Options {
        bookmark_period: Duration::from_millis(200),
        ..Options::default()
    };
    let scene = scene_with(options, &[]);
    put_maps(&scene, 1);
    let version = scene.client().list(MAPS).version();
    let mut watch = watch_after(&scene, &with(MAPS, "timeoutSeconds=3"), version);
    scene.server.skip_versions(50);
    let (events, end) = watch.collect(Duration::from_secs(20));
    assert!(matches!(end, Next::Ended), "{end:?}");
    assert!(events.len() >= 2, "at the start and before the end");
    assert!(events.iter().all(|event| event.event == "BOOKMARK"));
    let versions: Vec<_> = events.iter().map(|event| event.version()).collect();
    assert!(
        versions[0] >= version && versions.is_sorted(),
        "{versions:?}"
    );
}

#[test]
fn w007_initial_events_are_all_objects_an_annotated_bookmark_and_an_open_stream() {
    let scene = scene();
    put_maps(&scene, 3);
    let mut watch = scene.client().watching(&with(MAPS, BOTH));
    initial(&mut watch, &["c-0", "c-1", "c-2"], scene.server.version());
    hangs(&mut watch);
    let version = put_map(&scene, "c-3");
    assert_eq!(watch.change().version(), version);
}

#[test]
fn w008_a_server_without_initial_events_is_made_up_for_or_its_422_passes_and_is_not_kept() {
    let options = Options {
        watch_list: false,
        ..Options::default()
    };
    let scene = scene_with(options, &[]);
    put_maps(&scene, 2);
    // What is mirrored is a list and a watch upstream: the server is never asked for what it does not know.
    let mut watch = scene.client().watching(&with(MAPS, BOTH));
    initial(&mut watch, &["c-0", "c-1"], scene.server.version());
    let asked = scene.server.requests();
    assert!(!asked.iter().any(|r| r.target.contains("sendInitialEvents")));
    // What is not mirrored is the server's to answer, each time anew.
    let leases = with("/apis/coordination.k8s.io/v1/leases", BOTH);
    for _ in 0..2 {
        scene.server.forget_requests();
        assert_eq!(refusal(&scene, &leases), (422, "Invalid".to_owned()));
        assert_eq!(
            ask(&scene, &leases).body,
            scene.direct().get(&leases).expect("an answer").body
        );
        assert_eq!(scene.server.requests().len(), 2);
    }
}

#[test]
fn w009_the_deprecated_form_of_a_watch_is_forwarded_as_a_watch() {
    let scene = scene();
    put_maps(&scene, 1);
    let target = "/api/v1/watch/namespaces/ns/configmaps";
    let mut watch = scene.client().watching(target);
    assert_eq!(watch.event().event, "ADDED");
    let version = put_map(&scene, "c-1");
    assert_eq!(watch.event().version(), version);
    let asked = scene.server.requests();
    assert_eq!(asked.len(), 1);
    assert_eq!((asked[0].target.as_str(), asked[0].watch), (target, true));
}

#[test]
fn w010_watch_on_a_path_with_a_name_is_a_get() {
    let scene = scene();
    put_maps(&scene, 1);
    let target = format!("{MAPS}/c-0?watch=1");
    let answer = scene.client().list(&target);
    assert_eq!(answer.json()["kind"], "ConfigMap");
    assert_eq!(answer.body, scene.direct().list(&target).body);
}

#[test]
fn w011_a_404_passes_and_is_not_kept_as_an_answer() {
    let scene = scene();
    let target = format!("{MAPS}/c-0");
    assert_eq!(refusal(&scene, &target), (404, "NotFound".to_owned()));
    scene.cut_off(Mode::Refuse);
    let unavailable = (503, "ServiceUnavailable".to_owned());
    assert_eq!(refusal(&scene, &target), unavailable);
    scene.restore();
    scene.connected();
    put_maps(&scene, 1);
    assert_eq!(scene.client().list(&target).json()["kind"], "ConfigMap");
}

#[test]
fn w012_a_bad_label_selector_is_400() {
    let scene = scene();
    scene.connected();
    for selector in ["a%3Db%3Dc", "a+in+x", "-a", ","] {
        let target = format!("{MAPS}?labelSelector={selector}");
        let theirs = scene.direct().get(&target).expect("an answer");
        assert_eq!(
            (theirs.status, theirs.reason().as_str()),
            (400, "BadRequest")
        );
        let ours = refusal(&scene, &target);
        assert_eq!(ours, (400, "BadRequest".to_owned()), "{selector}");
    }
}

#[test]
fn w013_a_field_that_the_server_does_not_select_by_is_its_own_400() {
    let scene = scene();
    let body = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"field label not supported: spec.clusterIP","reason":"BadRequest","code":400}"#;
    let answer = Action::Answer {
        status: 400,
        headers: vec![("content-type", "application/json".to_owned())],
        body: body.into(),
    };
    scene.server.fail("/services", Only::All, 1, answer);
    let answer = ask(
        &scene,
        "/api/v1/services?fieldSelector=spec.clusterIP%21%3DNone",
    );
    assert_eq!((answer.status, answer.text().as_str()), (400, body));
}

#[test]
fn w014_a_list_ahead_of_the_server_is_504_with_its_cause_and_retry_after() {
    let scene = scene();
    put_maps(&scene, 1);
    let target = format!("{MAPS}?resourceVersion=99999");
    let answer = ask(&scene, &target);
    assert_eq!((answer.status, answer.reason().as_str()), (504, "Timeout"));
    assert_eq!(
        answer.json()["details"]["causes"][0]["reason"],
        "ResourceVersionTooLarge"
    );
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(
        answer.body,
        scene.direct().get(&target).expect("an answer").body
    );
}

#[test]
fn w015_a_watch_at_a_version_that_is_too_old_is_200_with_an_error_of_410_and_ends() {
    let scene = scene();
    put_maps(&scene, 5);
    scene.server.compact();
    let mut watch = watch_after(&scene, MAPS, 101);
    let media = if PROTOBUF {
        "application/vnd.kubernetes.protobuf;stream=watch"
    } else {
        "application/json"
    };
    let named = |(name, value): &(String, String)| name == "content-type" && value == media;
    assert!(watch.headers.iter().any(named), "{:?}", watch.headers);
    expires(&mut watch);
}
