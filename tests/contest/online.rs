//! T01–T03, T10, T11, T22–T24, T28–T30: what passes while the line is up.

use std::time::Duration;
use std::time::Instant;

use super::PATH;
use super::PROTOBUF;
use super::fill;
use super::names;
use super::scene;
use super::selected;
use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::apiserver::kind::PODS;
use crate::support::cable::Mode;
use crate::support::client::Next;
use crate::support::object;

#[test]
fn t01_a_selected_list_is_the_servers_byte_for_byte() {
    let scene = scene();
    fill(&scene, "functional", 100, false);
    let ours = scene.client().list(&selected("functional"));
    let theirs = scene.direct().list(&selected("functional"));
    assert_eq!(ours.names(), names("functional", 100, false));
    assert_eq!(ours.body, theirs.body);
    assert_eq!(ours.version(), theirs.version());
}

#[test]
fn t02_an_informers_list_and_watch_miss_nothing_in_order() {
    let scene = scene();
    fill(&scene, "functional", 100, false);
    let list = scene
        .client()
        .list("/api/v1/configmaps?limit=500&resourceVersion=0");
    let mut watch = scene.client().watching(&format!(
        "/api/v1/configmaps?allowWatchBookmarks=true&resourceVersion={}&timeoutSeconds=300&watch=true",
        list.version()
    ));
    let mut versions = Vec::new();
    for round in ["1", "2", "3", "success"] {
        for n in 0..100 {
            let name = format!("benchmark-functional-{n}");
            let version =
                scene
                    .server
                    .patch_labels(&CONFIGMAPS, "contest", &name, &[("watch", Some(round))]);
            versions.push(version.expect("it is there"));
        }
    }
    let seen: Vec<_> = (0..400).map(|_| watch.change()).collect();
    assert!(seen.iter().all(|event| event.event == "MODIFIED"));
    assert_eq!(
        seen.iter().map(|event| event.version()).collect::<Vec<_>>(),
        versions,
        "each once, in order"
    );
    assert!(
        seen[300..]
            .iter()
            .all(|event| event.object["metadata"]["labels"]["watch"] == "success")
    );
}

#[test]
fn t03_additions_deletions_and_bookmarks_pass_and_an_expired_history_is_not_the_clients_business() {
    let scene = scene();
    fill(&scene, "functional", 3, false);
    let list = scene.client().list(PATH);
    let mut watch = scene.client().watching(&format!(
        "{PATH}?allowWatchBookmarks=true&resourceVersion={}&watch=true",
        list.version()
    ));
    let bookmark = watch.event();
    assert_eq!(
        (bookmark.event.as_str(), bookmark.version()),
        ("BOOKMARK", list.version())
    );
    scene
        .server
        .put(&CONFIGMAPS, object::configmap("contest", "new", &[], "x"));
    let added = watch.change();
    assert_eq!((added.event.as_str(), added.name()), ("ADDED", "new"));
    let version = scene
        .server
        .delete(&CONFIGMAPS, "contest", "new")
        .expect("it is there");
    let deleted = watch.change();
    assert_eq!(
        (deleted.event.as_str(), deleted.name(), deleted.version()),
        ("DELETED", "new", version)
    );
    // The server forgets its history while a change is made that nobody has heard of: 410 upstream, an event here.
    scene.server.expire_watches();
    scene.server.patch_labels(
        &CONFIGMAPS,
        "contest",
        "benchmark-functional-1",
        &[("a", Some("b"))],
    );
    scene.server.compact();
    let modified = watch.change();
    assert_eq!(
        (modified.event.as_str(), modified.name()),
        ("MODIFIED", "benchmark-functional-1")
    );
    assert!(
        matches!(
            watch.next(Duration::from_millis(200)),
            Next::Silent | Next::Event(_)
        ),
        "and the watch stays open"
    );
}

#[test]
fn t10_gzip_is_asked_for_always_and_given_to_who_wants_it() {
    for prefix in ["skip-", "nothing-"] {
        let scene = super::scene_with(Default::default(), &["--drop-name-prefix", prefix]);
        fill(&scene, "big", 1000, true);
        scene.connected();
        let before = scene.cable.counters();
        let plain = scene.client().list(PATH);
        let crossed = scene.cable.counters().since(&before).down;
        assert!(plain.header("content-encoding").is_none());
        assert!(
            crossed * 5 < plain.body.len() as u64,
            "{crossed} bytes crossed for {}",
            plain.body.len()
        );
        let packed = scene.client().with("Accept-Encoding", "gzip").list(PATH);
        assert_eq!(packed.text(), plain.text(), "the same list, packed or not");
        assert_eq!(
            plain.names().iter().any(|name| name.starts_with("skip-")),
            prefix != "skip-"
        );
        if let Some(length) = packed.header("content-length") {
            assert_eq!(length, packed.body.len().to_string());
        }
    }
    // Without a filter the cloud's gzip goes on as it is.
    let scene = super::scene_with(Default::default(), &[]);
    fill(&scene, "big", 1000, false);
    let packed = scene.client().with("Accept-Encoding", "gzip").list(PATH);
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert_eq!(packed.text(), scene.direct().list(PATH).text());
    scene.cut(Mode::Refuse);
    assert_eq!(
        scene.client().list(PATH).text(),
        packed.text(),
        "and it was mirrored on the way"
    );
}

#[test]
fn t11_unknown_fields_and_odd_orders_pass_untouched() {
    let scene = scene();
    let odd = r#"{"@5000":"later","zebra":{"b":1,"a":[1.0e3,12345678901234567890]},"metadata":{"resourceVersion":"@RV@","name":"odd","x-unknown":null,"namespace":"contest"},"data":{"é":"\u00e9\/"}}"#;
    scene.server.put_text(&CONFIGMAPS, "contest", "odd", odd);
    scene.server.put(
        &CONFIGMAPS,
        object::configmap("contest", "skip-odd", &[], "x"),
    );
    let item = if PROTOBUF {
        scene.direct().list(PATH).item_texts().remove(0)
    } else {
        let item = scene.server.item(&CONFIGMAPS, "contest", "odd");
        item.expect("it is there")
    };
    assert!(item.contains("later"), "{item}");
    assert_eq!(
        scene.client().list(PATH).item_texts(),
        std::slice::from_ref(&item)
    );
    scene.cut(Mode::Refuse);
    assert_eq!(
        scene.client().list(PATH).item_texts(),
        [item],
        "offline too"
    );
}

#[test]
fn t22_a_line_that_returns_brings_what_was_missed() {
    let scene = scene();
    fill(&scene, "consistency", 20, false);
    let version = scene.client().list(PATH).version();
    let mut watch = scene
        .client()
        .watching(&format!("{PATH}?resourceVersion={version}&watch=true"));
    for mode in [Mode::Refuse, Mode::Reset, Mode::Drop] {
        scene.cut(mode);
        scene.client().list(PATH);
        let name = format!("during-{mode:?}").to_lowercase();
        scene
            .server
            .put(&CONFIGMAPS, object::configmap("contest", &name, &[], "x"));
        scene.restore();
        let event = watch.change();
        assert_eq!(
            (event.event.as_str(), event.name()),
            ("ADDED", name.as_str())
        );
        scene.wait("lists are fresh again", || {
            scene.client().list(PATH).names().contains(&name)
        });
    }
}

#[test]
fn t23_a_list_right_after_a_change_is_always_current() {
    let scene = scene();
    fill(&scene, "fresh", 5, false);
    let version = scene.client().list(PATH).version();
    let _watch = scene
        .client()
        .watching(&format!("{PATH}?resourceVersion={version}&watch=true"));
    for n in 0..100 {
        let name = format!("made-{n}");
        scene
            .server
            .put(&CONFIGMAPS, object::configmap("contest", &name, &[], "x"));
        assert!(
            scene.client().list(PATH).names().contains(&name),
            "{name} was just made"
        );
        scene.server.delete(&CONFIGMAPS, "contest", &name);
        assert!(
            !scene.client().list(PATH).names().contains(&name),
            "{name} was just deleted"
        );
    }
}

#[test]
fn t24_two_namespaces_two_agents_and_two_callers_never_get_each_others_bytes() {
    let scene = scene();
    for (namespace, name) in [("one", "a"), ("two", "b")] {
        scene.server.put(
            &CONFIGMAPS,
            object::configmap(namespace, name, &[("k", "v")], "x"),
        );
    }
    let path =
        |namespace: &str| format!("/api/v1/namespaces/{namespace}/configmaps?labelSelector=k%3Dv");
    let other = scene.client().with("User-Agent", "kube-proxy/v1.36.2");
    let caller = scene.client().with("Authorization", "Bearer somebody");
    for client in [&scene.client(), &other, &caller] {
        assert_eq!(client.list(&path("one")).names(), ["a"]);
    }
    assert_eq!(other.list(&path("two")).names(), ["b"]);
    let asked = scene.server.requests();
    assert!(
        asked
            .iter()
            .any(|request| request.authorization.as_deref() == Some("Bearer somebody")),
        "passed on as it came"
    );
    scene.cut(Mode::Refuse);
    assert_eq!(scene.client().list(&path("one")).names(), ["a"]);
    assert_eq!(other.list(&path("two")).names(), ["b"]);
    assert_eq!(caller.list(&path("one")).names(), ["a"]);
    assert_eq!(
        caller.get(&path("two")).expect("an answer").status,
        503,
        "that caller never asked for it"
    );
    let nobody = scene.client().with("Authorization", "Bearer nonsense");
    assert_eq!(nobody.get(&path("one")).expect("an answer").status, 503);
}

#[test]
fn t28_tables_and_other_forms_are_the_clouds_and_no_encoding_is_taken_for_another() {
    let scene = scene();
    fill(&scene, "forms", 3, true);
    const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let client = |accept: &str| scene.client().with("Accept", accept);
    let table = client(TABLE);
    let kubectl = client(&format!("{TABLE},application/json"));
    let (json, protobuf) = (
        client("application/json"),
        client("application/vnd.kubernetes.protobuf"),
    );
    let kubelet = client("application/vnd.kubernetes.protobuf,application/json");
    let shown = table.list(PATH);
    assert_eq!(shown.json()["kind"], "Table");
    assert!(
        !shown.text().contains("skip-") && shown.text().contains("benchmark-forms-0"),
        "and filtered: {}",
        shown.text()
    );
    assert_eq!(kubectl.list(PATH).json()["kind"], "Table");
    let indented = json.get(&format!("{PATH}?pretty=true")).expect("an answer");
    assert_eq!(indented.status, 200);
    scene.cut(Mode::Refuse);
    for client in [&json, &protobuf, &kubelet] {
        assert_eq!(
            client.get(PATH).expect("an answer").status,
            503,
            "none of these filled the mirror"
        );
    }
    scene.restore();
    scene.wait("the line is back", || {
        kubelet.get(PATH).is_ok_and(|answer| answer.status == 200)
    });
    let online = kubelet.list(PATH);
    assert!(online.is_protobuf(), "its first choice");
    assert_eq!(online.names(), names("forms", 3, true));
    scene.cut(Mode::Refuse);
    for client in [&kubelet, &protobuf] {
        let offline = client.list(PATH);
        assert!(offline.is_protobuf());
        assert_eq!(offline.item_texts(), online.item_texts());
    }
    for client in [&json, &kubectl, &table] {
        assert_eq!(client.get(PATH).expect("an answer").status, 406);
    }
    scene.restore();
    scene.wait("the line is back", || {
        json.get(PATH)
            .is_ok_and(|answer| answer.header("warning").is_none() && answer.status == 200)
    });
    scene.cut(Mode::Refuse);
    assert_eq!(json.list(PATH).names(), names("forms", 3, true));
    assert_eq!(
        kubectl.list(PATH).json()["kind"],
        "ConfigMapList",
        "plain JSON is its last choice, and better than none"
    );
    assert_eq!(table.get(PATH).expect("an answer").status, 406);
    assert!(protobuf.list(PATH).is_protobuf());
}

#[test]
fn t29_pages_pass_filtered_and_are_never_a_whole_list() {
    let scene = scene();
    fill(&scene, "pages", 40, true);
    let first = scene.client().list(&format!("{PATH}?limit=10"));
    let token = first.json()["metadata"]["continue"]
        .as_str()
        .expect("there is more")
        .to_owned();
    assert!(!first.names().iter().any(|name| name.starts_with("skip-")));
    scene.cut(Mode::Refuse);
    assert_eq!(
        scene.client().get(PATH).expect("an answer").status,
        503,
        "a page is no list"
    );
    scene.restore();
    scene.wait("the line is back", || {
        scene
            .client()
            .get(PATH)
            .is_ok_and(|answer| answer.status == 200)
    });
    let mut all = first.names();
    let mut token = token;
    loop {
        let page = scene
            .client()
            .list(&format!("{PATH}?limit=10&continue={token}"));
        all.extend(page.names());
        match page.json()["metadata"]["continue"].as_str() {
            Some(next) if !next.is_empty() => token = next.to_owned(),
            _ => break,
        }
    }
    all.sort();
    assert_eq!(all, names("pages", 40, true));
    scene.cut(Mode::Refuse);
    let offline = scene
        .client()
        .get(&format!("{PATH}?limit=10&continue={token}"))
        .expect("an answer");
    assert_eq!(
        (offline.status, offline.reason().as_str()),
        (410, "Expired")
    );
}

#[test]
fn t30_sigterm_ends_watches_well_and_upgrades_are_tunnels() {
    let mut scene = scene();
    scene
        .server
        .put(&PODS, object::pod("contest", "p", "edge-00", &[]));
    let mut connection = scene.client().open().expect("the door is open");
    connection
        .send(
            "GET",
            "/api/v1/namespaces/contest/pods/p/exec?command=cat",
            &[("Connection", "Upgrade"), ("Upgrade", "websocket")],
            b"",
        )
        .expect("sent");
    let (status, mut already, mut stream) = connection.upgraded().expect("an answer");
    assert_eq!(status, 101);
    use std::io::Read;
    use std::io::Write;
    stream.write_all(b"through the tunnel").expect("sent");
    stream
        .shutdown(std::net::Shutdown::Write)
        .expect("half-closed");
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("set");
    stream.read_to_end(&mut already).expect("echoed and closed");
    assert!(
        already.ends_with(b"through the tunnel"),
        "{:?}",
        String::from_utf8_lossy(&already)
    );
    let version = scene.client().list("/api/v1/pods").version();
    let mut watches: Vec<_> = (0..5)
        .map(|_| {
            scene.client().watching(&format!(
                "/api/v1/pods?allowWatchBookmarks=true&resourceVersion={version}&watch=true"
            ))
        })
        .collect();
    let began = Instant::now();
    let (took, well) = scene.terminate();
    assert!(well && took < Duration::from_secs(5), "{took:?}");
    for watch in &mut watches {
        let (events, end) = watch.collect(Duration::from_secs(5));
        assert!(matches!(end, Next::Ended), "a clean end: {end:?}");
        assert_eq!(
            events.last().map(|event| event.event.as_str()),
            Some("BOOKMARK")
        );
    }
    assert!(began.elapsed() < Duration::from_secs(5));
}
