//! W018, W019, W077, W101: tokens of service accounts.

use serde_json::json;

use super::put_pods;
use crate::scene;
use crate::support::apiserver::Action;
use crate::support::apiserver::Only;
use crate::support::apiserver::token::ENDED;
use crate::support::apiserver::token::LIVING;
use crate::support::apiserver::token::PLANTED;
use crate::support::apiserver::token::Request;
use crate::support::cable::Mode;
use crate::tokens::ENCODINGS;
use crate::tokens::ask;
use crate::tokens::ask_in;
use crate::tokens::held;
use crate::tokens::uid;

#[test]
fn w018_a_token_that_is_given_passes_and_is_kept_where_nobody_reads_it() {
    for encoding in ENCODINGS {
        let scene = scene();
        put_pods(&scene);
        let request = Request::of_pod("p1", &uid(&scene, "p1"));
        scene.server.forget_requests();
        let answer = ask_in(&scene, encoding, "ns", "default", &request);
        assert_eq!(answer.status, 201, "{}", answer.text());
        assert_eq!(answer.header("content-type"), Some(encoding));
        let token = format!("{PLANTED}-0.ns.default");
        assert!(answer.text().contains(&token));
        let asked = scene.server.requests();
        let sent = asked
            .iter()
            .find(|r| r.method == "POST")
            .expect("it was sent");
        assert_eq!(sent.content_type, encoding);
        assert_eq!(sent.body, crate::tokens::body(encoding, &request));
        assert_eq!(held(&scene), (1, 0));
        assert!(crate::sealed::found(&scene, &token).is_empty());
    }
}

#[test]
fn w019_a_token_that_is_refused_passes_and_nothing_is_kept() {
    let mut scene = scene();
    put_pods(&scene);
    let request = Request::of_pod("p1", &uid(&scene, "p1"));
    scene.connected();
    let written = scene.mirror_bytes();
    scene
        .server
        .fail("/token", Only::All, 1, Action::Status(403));
    let answer = ask(&scene, "ns", "default", &request);
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (403, "Forbidden")
    );
    // The server's own no: the pod is another one by now.
    let other = Request::of_pod("p1", "00000000-0000-4000-8000-00000000ffff");
    let answer = ask(&scene, "ns", "default", &other);
    assert_eq!((answer.status, answer.reason().as_str()), (409, "Conflict"));
    assert_eq!(held(&scene), (0, 0));
    assert_eq!(scene.mirror_bytes(), written, "nothing is written");
    scene.cut(Mode::Refuse);
    scene.restart();
    for request in [request, other] {
        assert_eq!(ask(&scene, "ns", "default", &request).status, 503);
    }
}

#[test]
fn w077_a_token_is_given_again_offline_for_the_same_pod_and_for_no_other() {
    for encoding in ENCODINGS {
        let mut scene = scene();
        put_pods(&scene);
        let request = Request::of_pod("p1", &uid(&scene, "p1"));
        let online = ask_in(&scene, encoding, "ns", "default", &request);
        assert_eq!(online.status, 201);
        scene.cut_off(Mode::Refuse);
        for start in [false, true] {
            if start {
                // The node was off: `kill -9`, and a start without the cloud.
                scene.restart();
            }
            let answer = ask_in(&scene, encoding, "ns", "default", &request);
            assert_eq!((answer.status, &answer.body), (201, &online.body));
            assert_eq!(answer.header("content-type"), Some(encoding));
            let mut others = vec![
                Request::of_pod("p1", &uid(&scene, "p2")),
                Request::of_pod("p2", &uid(&scene, "p1")),
                Request {
                    audiences: vec!["vault".into()],
                    ..request.clone()
                },
                Request {
                    seconds: 600,
                    ..request.clone()
                },
                Request {
                    bound: None,
                    ..request.clone()
                },
            ];
            let secret = request
                .bound
                .clone()
                .map(|[_, v, name, uid]| ["Secret".into(), v, name, uid]);
            others.push(Request {
                bound: secret,
                ..request.clone()
            });
            for other in others {
                let answer = ask_in(&scene, encoding, "ns", "default", &other);
                assert_eq!(answer.status, 503, "{other:?}: {}", answer.text());
                assert_eq!(answer.json()["kind"], json!("Status"));
                assert_eq!(answer.header("retry-after"), None);
            }
            for (namespace, name) in [("ns", "other"), ("other", "default")] {
                let answer = ask_in(&scene, encoding, namespace, name, &request);
                assert_eq!(answer.status, 503, "{namespace}/{name}");
            }
        }
    }
}

#[test]
fn w101_an_old_token_is_asked_for_upstream_and_the_new_one_takes_its_place() {
    let mut scene = scene();
    put_pods(&scene);
    let request = Request::of_pod("p1", &uid(&scene, "p1"));
    scene.server.tokens_end(ENDED);
    let first = ask(&scene, "ns", "default", &request);
    assert_eq!(held(&scene), (1, 1), "one, and its life is over");
    scene.cut_off(Mode::Refuse);
    let again = ask(&scene, "ns", "default", &request);
    assert_eq!((again.status, &again.body), (201, &first.body));
    scene.server.tokens_end(LIVING);
    scene.restore();
    scene.connected();
    let second = ask(&scene, "ns", "default", &request);
    assert_eq!(second.status, 201);
    assert_ne!(second.body, first.body, "the cloud was asked");
    assert_eq!(scene.server.tokens_given(), 2);
    assert_eq!(held(&scene), (1, 0), "the old one is gone");
    scene.cut(Mode::Refuse);
    scene.restart();
    let last = ask(&scene, "ns", "default", &request);
    assert_eq!((last.status, &last.body), (201, &second.body));
    assert_eq!(held(&scene), (1, 0));
}
