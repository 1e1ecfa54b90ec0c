//! Discovery and `/version`: what kubectl looks at before it asks, cut off too.

use crate::scene;
use crate::support::cable::Mode;

const DOCUMENTS: [&str; 4] = ["/version", "/api", "/apis", "/api/v1"];

#[test]
fn what_was_looked_at_once_is_answered_when_cut_off_and_after_a_restart() {
    let mut scene = scene();
    let online: Vec<_> = DOCUMENTS
        .iter()
        .map(|path| scene.client().get(path).expect("an answer"))
        .collect();
    for round in 0..2 {
        scene.cut(Mode::Refuse);
        if round == 1 {
            scene.restart();
        }
        for (path, online) in DOCUMENTS.iter().zip(&online) {
            let target = format!("{path}?timeout=32s");
            let answer = scene.client().get(&target).expect("an answer");
            assert_eq!((online.status, answer.status), (200, 200), "{path}");
            assert_eq!(answer.body, online.body, "{path}");
            assert_eq!(answer.header("content-type"), online.header("content-type"));
            assert_eq!(answer.header("etag"), online.header("etag"));
            assert!(answer.header("warning").is_some(), "it says that it is old");
        }
        let tag = online[2].header("etag").expect("a tag").to_owned();
        let client = scene.client().with("if-none-match", &tag);
        let held = client.get("/apis").expect("an answer");
        assert_eq!((held.status, held.body.len()), (304, 0));
        let other = scene.client().get("/apis/apps/v1").expect("an answer");
        assert_eq!(other.status, 503, "never looked at: {}", other.text());
        let table = scene.client().with("accept", "application/yaml");
        assert_eq!(table.get("/apis").expect("an answer").status, 503);
    }
}

#[test]
fn an_unchanged_document_crosses_the_line_once_and_is_written_once() {
    let scene = scene();
    let first = scene.client().get("/apis").expect("an answer");
    scene.wait("it is written", || scene.mirror_bytes() > 0);
    let written = scene.mirror_bytes();
    scene.server.forget_requests();
    let before = scene.cable.counters();
    for _ in 0..3 {
        let again = scene.client().get("/apis").expect("an answer");
        assert_eq!((again.status, &again.body), (200, &first.body));
    }
    let crossed = scene.cable.counters().since(&before);
    assert!(crossed.bytes() < 3 * first.body.len() as u64, "{crossed:?}");
    assert_eq!(scene.server.requests().len(), 3, "the cloud is asked");
    assert_eq!(scene.mirror_bytes(), written);
}

#[test]
fn what_one_caller_looked_at_is_nobody_elses() {
    let scene = scene();
    let caller = |token: &str| {
        scene
            .client()
            .with("authorization", &format!("Bearer {token}"))
    };
    assert_eq!(caller("one").get("/api").expect("an answer").status, 200);
    scene.cut(Mode::Refuse);
    assert_eq!(caller("one").get("/api").expect("an answer").status, 200);
    assert_eq!(caller("two").get("/api").expect("an answer").status, 503);
    assert_eq!(scene.client().get("/api").expect("an answer").status, 503);
    let answer = scene
        .client()
        .get("/apis/%20/v1/documents")
        .expect("an answer");
    assert_eq!(answer.status, 503);
}
