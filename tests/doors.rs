//! What comes in by the local door and is not as it should be, and what leaves early.

use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use crate::scene;
use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::apiserver::kind::PODS;
use crate::support::cable::Mode;
use crate::support::client::Next;
use crate::support::object;

const PATH: &str = "/api/v1/namespaces/edge/configmaps";

/// What the door answers to these bytes: the status line and whether the connection was closed.
fn raw(scene: &crate::Scene, bytes: &[u8]) -> (String, String) {
    let mut stream = TcpStream::connect(scene.client().address()).expect("the door is open");
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("set");
    stream.write_all(bytes).expect("sent");
    let mut answer = Vec::new();
    // All of these are answered with the connection closed behind.
    let _ = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer).into_owned();
    (text.lines().next().unwrap_or_default().to_owned(), text)
}

#[test]
fn hostile_heads_and_framings_are_refused_and_the_agent_lives() {
    let scene = scene();
    scene.connected();
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(40_000));
    let many = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "x: y\r\n".repeat(200)
    );
    for (bytes, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: \r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a/evil?\r\n\r\n", "400"),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("GET nowhere HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "501",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            "400",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            "400",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n\r\nab",
            "400",
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\nX\0: y\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\n folded: y\r\n\r\n", "400"),
        ("not http at all\r\n\r\n", "400"),
        (long.as_str(), "431"),
        (many.as_str(), "431"),
    ] {
        let (line, text) = raw(&scene, bytes.as_bytes());
        // A target that is too long has a code of its own.
        let right = line.starts_with(&format!("HTTP/1.1 {status}"))
            || (status == "431" && line.starts_with("HTTP/1.1 414"));
        assert!(
            right,
            "{:?} was answered {text:?}",
            bytes.chars().take(60).collect::<String>()
        );
    }
    let healthy = scene.admin().get("/v1/healthz").expect("an answer");
    assert_eq!((healthy.status, healthy.text().as_str()), (200, "OK"));
}

#[test]
fn targets_and_fields_reach_the_server_unchanged() {
    let scene = scene();
    scene.connected();
    for target in [
        "/api/v1/namespaces/edge/configmaps?labelSelector=a%3Db%2Cc&limit=5",
        "/api/v1/namespaces/edge/secrets/a%2Fb",
        "//api/v1/./x/../y?q='%20",
        "/openapi/v3?hash=AB%2B",
    ] {
        scene.server.forget_requests();
        let _ = scene
            .client()
            .with("X-Name", "caf\u{e9}")
            .get(target)
            .expect("an answer");
        let asked = scene.server.requests();
        assert_eq!(
            asked
                .iter()
                .map(|request| request.target.as_str())
                .collect::<Vec<_>>(),
            [target]
        );
    }
    let refused = scene
        .client()
        .get("/api/v1/pods?labelSelector=<>")
        .expect("an answer");
    assert_eq!(refused.status, 400);
}

#[test]
fn a_client_that_leaves_frees_its_descriptor_and_a_forwarded_watch_upstream() {
    let scene = scene();
    scene
        .server
        .put(&PODS, object::pod("edge", "p", "edge-00", &[]));
    scene.connected();
    scene.client().list("/api/v1/pods");
    let before = scene.descriptors();
    // Leases are forwarded, not mirrored.
    let leases = "/apis/coordination.k8s.io/v1/leases?watch=true&resourceVersion=1";
    let forwarded: Vec<_> = (0..20).map(|_| scene.client().watching(leases)).collect();
    scene.wait("they run upstream", || scene.server.watches_open() == 20);
    drop(forwarded);
    let began = std::time::Instant::now();
    scene.wait("they end upstream", || scene.server.watches_open() == 0);
    scene.wait("descriptors are given back", || {
        scene.descriptors() <= before + 1
    });
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    // A mirrored collection keeps its upstream watch: clients come back.
    let mirrored = scene
        .client()
        .watching("/api/v1/pods?watch=true&resourceVersion=1");
    scene.wait("it runs upstream", || scene.server.watches_open() == 1);
    drop(mirrored);
    scene.wait("descriptors are given back", || {
        scene.descriptors() <= before + 1
    });
    assert_eq!(scene.server.watches_open(), 1);
}

#[test]
fn a_reader_that_stands_still_holds_up_nobody() {
    let scene = scene();
    for n in 0..400 {
        scene.server.put(
            &CONFIGMAPS,
            object::big_configmap("edge", &format!("c-{n:03}"), 10_000),
        );
    }
    scene.connected();
    let stalled: Vec<_> = (0..8)
        .map(|_| {
            let mut connection = scene.client().open().expect("the door is open");
            connection.send("GET", PATH, &[], b"").expect("sent");
            connection
        })
        .collect();
    std::thread::sleep(Duration::from_millis(300));
    let list = scene.client().list(PATH);
    assert_eq!(list.names().len(), 400);
    assert!(list.elapsed < Duration::from_secs(3), "{:?}", list.elapsed);
    drop(stalled);
}

#[test]
fn a_body_that_is_cut_short_never_ends_well() {
    use crate::support::apiserver::Action;
    use crate::support::apiserver::Only;
    let scene = scene();
    for n in 0..50 {
        scene.server.put(
            &CONFIGMAPS,
            object::big_configmap("edge", &format!("c-{n:03}"), 4_000),
        );
    }
    scene.connected();
    // The list comes gzipped, in a few kilobytes.
    for bytes in [10, 500, 1_500] {
        scene
            .server
            .fail("configmaps", Only::Lists, 1, Action::CutAfter(bytes));
        match scene.client().get(PATH) {
            // Nothing was known and nothing had been sent: refused in whole.
            Ok(answer) => assert_eq!(
                answer.status,
                503,
                "cut after {bytes}: {} bytes",
                answer.body.len()
            ),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    scene.cut(Mode::Refuse);
    assert_eq!(
        scene.client().get(PATH).expect("an answer").status,
        503,
        "half a list is no list"
    );
}

#[test]
fn the_command_line_says_what_is_wrong_and_exits_with_64_or_78() {
    let agent = crate::agent();
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(&agent.path)
            .args(arguments)
            .output()
            .expect("it runs");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    for (arguments, complaint) in [
        (&["agent"][..], "toono: --server is missing"),
        (
            &["agent", "--server", "ftp://x", "--ca", "Cargo.toml"],
            "toono: --server \"ftp://x\": must be https://",
        ),
        (
            &["agent", "--server", "https://x", "--ca", "none"],
            "toono: --ca \"none\": must be a file",
        ),
        (
            &["agent", "--server", "https://x", "--ca", "Cargo.toml"],
            "toono: Cargo.toml: holds no PEM certificate",
        ),
        (&["agent", "--flag"], "toono: "),
        (&["fly"], "toono: "),
        (&[], "toono: "),
    ] {
        let (code, stderr, _) = run(arguments);
        let arguments: Vec<&str> = arguments.to_vec();
        // A value is the configuration's (78), a flag that is none the command line's (64).
        let expected = if complaint.len() > 8 { 78 } else { 64 };
        assert_eq!(code, Some(expected), "{arguments:?}: {stderr}");
        assert!(stderr.starts_with(complaint), "{arguments:?}: {stderr}");
        assert_eq!(stderr.trim_end().lines().count(), 1, "{stderr}");
    }
    let (code, _, stdout) = run(&["version"]);
    assert_eq!(
        (code, stdout.trim()),
        (Some(0), concat!("toono ", env!("CARGO_PKG_VERSION")))
    );
    let (code, _, stdout) = run(&["agent", "--help"]);
    assert!(code == Some(0) && stdout.contains("--drop-name-prefix"));
}

#[test]
fn the_operators_door_tells_health_and_readiness() {
    let mut scene = crate::Scene::dark(crate::agent(), Default::default(), &[]);
    scene.cut(Mode::Refuse);
    scene.start();
    let get = |path: &str| scene.admin().get(path).expect("an answer").status;
    assert_eq!(
        (get("/v1/healthz"), get("/v1/readyz"), get("/else")),
        (200, 503, 404)
    );
    scene.restore();
    scene.connected();
    assert_eq!(get("/v1/readyz"), 200);
}

#[test]
fn a_bearer_token_file_is_read_again_when_it_changes() {
    let token = std::env::temp_dir().join(format!("toono-token-{}", std::process::id()));
    std::fs::write(&token, "first\n").expect("a file");
    let options = crate::support::apiserver::Options {
        token: Some("first".into()),
        ..Default::default()
    };
    let path = token.display().to_string();
    let scene = crate::Scene::with(crate::agent(), options, &["--token-file", &path]);
    scene.connected();
    assert_eq!(
        scene
            .client()
            .get("/api/v1/pods")
            .expect("an answer")
            .status,
        200
    );
    std::fs::write(&token, "second").expect("a file");
    assert_eq!(
        scene
            .client()
            .get("/api/v1/pods")
            .expect("an answer")
            .status,
        401,
        "the server's own answer"
    );
    let last = scene.server.requests().pop().expect("asked");
    assert_eq!(last.authorization.as_deref(), Some("Bearer second"));
    let own = scene
        .client()
        .with("Authorization", "Bearer first")
        .get("/api/v1/pods")
        .expect("an answer");
    assert_eq!(own.status, 200, "a caller's own is passed on");
    std::fs::remove_file(&token).expect("removed");
}

#[test]
fn watches_that_wait_for_a_mended_line_are_told_to_come_back() {
    let scene = scene();
    scene.cut(Mode::Refuse);
    scene.wait("the cut is noticed", || {
        scene
            .client()
            .get("/api/v1/pods")
            .is_ok_and(|answer| answer.status == 503)
    });
    let watch = scene
        .client()
        .watch("/api/v1/pods?watch=true&resourceVersion=5")
        .expect("an answer");
    assert_eq!(watch.status, 503);
    assert!(
        watch
            .headers
            .iter()
            .any(|(name, value)| name.eq_ignore_ascii_case("retry-after") && value == "5")
    );
    scene.restore();
    scene.connected();
    let mut watch = scene
        .client()
        .watching("/api/v1/pods?watch=true&allowWatchBookmarks=true");
    assert!(matches!(watch.next(Duration::from_secs(2)), Next::Event(_)));
}
