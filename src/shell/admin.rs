//! The operator's door: is it alive, can it answer, and what has it done.

use std::rc::Rc;

use crate::io::http::Body;
use crate::io::http::HeaderMap;
use crate::io::http::HeaderValue;
use crate::io::http::Method;
use crate::io::http::Request;
use crate::io::http::Response;
use crate::io::http::StatusCode;
use crate::io::http::server::Door;
use crate::io::process;
use crate::role::agent::Agent;
use crate::shell::report;

/// What the door tells of beside the agent.
pub struct About {
    /// The node's name.
    pub node: String,
    /// Bytes that the mirror may hold.
    pub flash_cap: u64,
    /// What a reboot empties and the state folder lies on.
    pub volatile: Option<&'static str>,
    /// The door of the clients.
    pub door: Rc<Door>,
}

/// Answers one request of the operator's. Paths of health and the answer `OK` are YurtHub's.
pub fn answer(agent: &Rc<Agent>, about: &About, request: &Request) -> Response {
    let path = request.target.split('?').next().unwrap_or_default();
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return text(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET is answered here\n",
        );
    }
    let (clients, cap) = (about.door.clients(), about.flash_cap);
    match path {
        "/v1/healthz" => text(StatusCode::OK, "OK"),
        "/v1/readyz" if agent.is_ready() => text(StatusCode::OK, "OK"),
        "/v1/readyz" => text(
            StatusCode::SERVICE_UNAVAILABLE,
            "the API server has not been reached, and nothing is mirrored yet\n",
        ),
        "/metrics" => whole(
            "text/plain; version=0.0.4; charset=utf-8",
            report::metrics(&agent.report(process::unix_time()), clients, cap),
        ),
        "/status" => whole(
            "application/json",
            report::status(
                &agent.report(process::unix_time()),
                &about.node,
                clients,
                cap,
                about.volatile,
            ),
        ),
        _ => text(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

fn whole(kind: &'static str, body: String) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static(kind));
    Response {
        status: StatusCode::OK,
        headers,
        body: Body::full(body),
        tunnel: None,
    }
}

fn text(status: StatusCode, text: &'static str) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(
        "content-type",
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    Response {
        status,
        headers,
        body: Body::full(text),
        tunnel: None,
    }
}
