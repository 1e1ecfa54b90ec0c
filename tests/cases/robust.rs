//! W105–W109: large, slow, many and odd.

use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use super::MAPS;
use super::PROTOBUF;
use super::changes;
use super::dressed;
use super::hangs;
use super::put_map;
use super::put_maps;
use super::refusal;
use super::scene;
use super::watch_after;
use super::with;
use crate::Scene;
use crate::support::apiserver::Options;
use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::cable::Mode;
use crate::support::client::Next;
use crate::support::object;

/// All that the local door answers to these bytes, up to the connection's end.
fn raw(scene: &Scene, text: &str) -> String {
    let mut stream = TcpStream::connect(scene.client().address()).expect("the door is open");
    let patience = Some(Duration::from_secs(10));
    stream.set_read_timeout(patience).expect("set");
    stream.write_all(text.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .expect("answered, and closed");
    answer
}

/// A scene whose agent may open 256 files and sockets.
fn with_few_descriptors() -> Scene {
    let program = crate::agent_behind("ulimit -n 256");
    dressed(Scene::with(program, Options::default(), &[]))
}

#[test]
fn w105_an_object_of_megabytes_and_a_deep_one_pass_on_a_watch_in_bounded_memory() {
    let scene = scene();
    put_maps(&scene, 1);
    let mut watch = watch_after(&scene, MAPS, scene.client().list(MAPS).version());
    let before = scene.memory();
    let large = object::big_configmap("ns", "large", 3_000_000);
    scene.server.put(&CONFIGMAPS, large.clone());
    let change = watch.change();
    assert_eq!((change.event.as_str(), change.name()), ("ADDED", "large"));
    assert_eq!(change.object["data"], large["data"]);
    let after = scene.memory();
    assert!(
        after.peak - before.peak < 24 * 1024,
        "{before:?} then {after:?}"
    );
    if PROTOBUF {
        // The depth of a message is its kind's.
        return;
    }
    let text = format!(
        r#"{{"metadata":{{"name":"deep","namespace":"ns","resourceVersion":"@RV@"}},"data":{{"x":{}{}}}}}"#,
        "[".repeat(100),
        "]".repeat(100)
    );
    scene.server.put_text(&CONFIGMAPS, "ns", "deep", &text);
    let change = watch.change();
    let item = scene.server.item(&CONFIGMAPS, "ns", "deep");
    let item = item.expect("it is there");
    assert!(
        change.line.ends_with(&format!("{}}}", &item[1..])),
        "{}",
        change.line
    );
    scene.cut_off(Mode::Refuse);
    assert!(scene.client().list(MAPS).item_texts().contains(&item));
}

#[test]
fn w106_a_reader_that_is_slow_costs_no_memory_holds_up_nobody_and_misses_nothing() {
    let scene = scene();
    put_maps(&scene, 3);
    let version = scene.client().list(MAPS).version();
    let mut slow = watch_after(&scene, MAPS, version);
    let mut quick = watch_after(&scene, MAPS, version);
    let before = scene.memory();
    let mut last = version;
    for n in 0..100 {
        let map = object::big_configmap("ns", &format!("c-{}", n % 3), 100_000 + n);
        last = scene.server.put(&CONFIGMAPS, map);
        assert_eq!(quick.change().version(), last);
    }
    let after = scene.memory();
    assert!(
        after.anonymous < before.anonymous + 3 * 1024,
        "{before:?} then {after:?}"
    );
    // It is ended, or what it has not read waits where it was mirrored.
    let mut seen = vec![version];
    loop {
        match slow.next(Duration::from_secs(5)) {
            Next::Event(event) => seen.push(event.version()),
            Next::Ended | Next::Silent => break,
            Next::Broken(error) => panic!("{error}"),
        }
    }
    assert!(seen.is_sorted(), "{seen:?}");
    assert_eq!(seen.last(), Some(&last));
}

#[test]
fn w107_more_watches_than_descriptors_are_refused_with_503_and_the_agent_lives() {
    let scene = with_few_descriptors();
    put_maps(&scene, 1);
    let version = scene.client().list(MAPS).version();
    let target = format!("{MAPS}?resourceVersion={version}&watch=true");
    let client = scene.client().patient(Duration::from_secs(5));
    let (mut open, mut refused) = (Vec::new(), 0);
    for _ in 0..500 {
        let watch = client.watch(&target).expect("an answer");
        if watch.status == 200 {
            open.push(watch);
        } else {
            refused += 1;
            assert_eq!(watch.status, 503);
            let later = |(name, _): &(String, String)| name == "retry-after";
            assert!(watch.headers.iter().any(later), "{:?}", watch.headers);
        }
    }
    assert!(
        open.len() >= 150 && refused >= 244,
        "{} and {refused}",
        open.len()
    );
    let version = put_map(&scene, "c-0");
    assert_eq!(open[0].change().version(), version);
    drop(open);
    scene.wait("there is room again", || {
        client.watch(&target).is_ok_and(|watch| watch.status == 200)
    });
}

#[test]
fn running_out_of_descriptors_loses_nothing_that_is_mirrored() {
    let scene = with_few_descriptors();
    put_maps(&scene, 1);
    let version = scene.client().list(MAPS).version();
    let target = format!("{MAPS}?resourceVersion={version}&watch=true");
    let client = scene.client().patient(Duration::from_secs(2));
    // Until one is refused, or waits unanswered.
    let open = |_| {
        client
            .watch(&target)
            .ok()
            .filter(|watch| watch.status == 200)
    };
    let mut watches: Vec<_> = (0..300).map_while(open).collect();
    assert!(watches.len() < 300);
    let version = put_map(&scene, "c-0");
    assert_eq!(watches[0].change().version(), version);
    drop(watches);
    scene.wait("there is room again", || client.get(MAPS).is_ok());
    scene.cut_off(Mode::Refuse);
    assert_eq!(scene.client().list(MAPS).version(), version);
}

#[test]
fn w108_http_that_is_odd_and_right_is_answered_and_targets_go_up_as_they_came() {
    let scene = scene();
    put_maps(&scene, 2);
    scene.connected();
    let get = |target: &str, close: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n{close}\r\n")
    };
    let last = "Connection: close\r\n";
    // Several at once, answered in order; one of them without a body.
    let head = format!("HEAD {MAPS}/c-0 HTTP/1.1\r\nHost: a\r\n\r\n");
    let first = get(&format!("{MAPS}/c-0"), "");
    let second = get(&format!("{MAPS}/c-1"), last);
    let answers = raw(&scene, &format!("{first}{head}{second}"));
    let heads: Vec<_> = answers.split("HTTP/1.1 ").skip(1).collect();
    assert_eq!(heads.len(), 3, "{answers}");
    assert!(heads[0].starts_with("200 ") && heads[0].contains("\"name\":\"c-0\""));
    assert!(heads[1].ends_with("\r\n\r\n"), "a head alone: {}", heads[1]);
    assert!(heads[2].starts_with("200 ") && heads[2].contains("\"name\":\"c-1\""));
    // A body that waits to be asked for.
    let body = object::configmap("ns", "posted", &[], "x").to_string();
    let mut stream = TcpStream::connect(scene.client().address()).expect("the door is open");
    let patience = Some(Duration::from_secs(10));
    stream.set_read_timeout(patience).expect("set");
    let head = format!(
        "POST {MAPS} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n{last}Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("sent");
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).expect("answered");
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body.as_bytes()).expect("sent");
    let mut created = String::new();
    stream
        .read_to_string(&mut created)
        .expect("answered, and closed");
    assert!(created.starts_with("HTTP/1.1 201 "), "{created}");
    // Forms of targets.
    for (sent, asked, status) in [
        (format!("http://a{MAPS}/c-0"), format!("{MAPS}/c-0"), "200"),
        (format!("{MAPS}/a%2Fb"), format!("{MAPS}/a%2Fb"), "404"),
        (format!("{MAPS}/a%252Fb"), format!("{MAPS}/a%252Fb"), "404"),
        (format!("/{MAPS}//c-0"), format!("/{MAPS}//c-0"), ""),
    ] {
        scene.server.forget_requests();
        let answer = raw(&scene, &get(&sent, last));
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{sent}: {answer}"
        );
        let targets: Vec<_> = scene
            .server
            .requests()
            .into_iter()
            .map(|r| r.target)
            .collect();
        assert_eq!(targets, [asked], "{sent}");
    }
}

#[test]
fn w109_clients_with_different_selectors_see_what_they_selected() {
    let scene = scene();
    for (name, half) in [("a", "1"), ("b", "2")] {
        let map = object::configmap("ns", name, &[("half", half)], "x");
        scene.server.put(&CONFIGMAPS, map);
    }
    let half = |n: u32| with(MAPS, &format!("labelSelector=half%3D{n}"));
    let mut watches: Vec<_> = [1, 2]
        .map(|n| watch_after(&scene, &half(n), scene.client().list(&half(n)).version()))
        .into();
    let labels = [("half", Some("2"))];
    let version = scene.server.patch_labels(&CONFIGMAPS, "ns", "a", &labels);
    let version = version.expect("it is there");
    for (watch, event) in watches.iter_mut().zip(["DELETED", "ADDED"]) {
        let change = (event.to_owned(), "a".to_owned(), version);
        assert_eq!(changes(watch, 1), [change]);
        hangs(watch);
    }
    scene.cut_off(Mode::Refuse);
    assert_eq!(scene.client().list(&half(1)).names(), [""; 0]);
    assert_eq!(scene.client().list(&half(2)).names(), ["a", "b"]);
    let all = refusal(&scene, MAPS);
    assert_eq!(
        all,
        (503, "ServiceUnavailable".to_owned()),
        "two halves are no whole"
    );
}

#[test]
fn a_refused_write_whose_body_comes_late_keeps_its_connection_or_says_that_it_closes() {
    let scene = scene();
    put_maps(&scene, 1);
    scene.client().list(MAPS);
    scene.cut_off(Mode::Refuse);
    let mut stream = TcpStream::connect(scene.client().address()).expect("the door is open");
    let patience = Some(Duration::from_secs(10));
    stream.set_read_timeout(patience).expect("set");
    let head = format!("POST {MAPS} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    std::thread::sleep(Duration::from_millis(50));
    let next = format!("GET {MAPS} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    // These fail if the connection has been closed, which the answer may have said.
    let _ = stream.write_all(b"{}");
    let _ = stream.write_all(next.as_bytes());
    let mut answers = String::new();
    stream
        .read_to_string(&mut answers)
        .expect("answered, and closed");
    assert!(answers.starts_with("HTTP/1.1 503 "), "{answers}");
    let closes = answers.to_ascii_lowercase().contains("connection: close");
    assert!(
        closes,
        "neither a second answer, nor a word of the end: {answers}"
    );
}
