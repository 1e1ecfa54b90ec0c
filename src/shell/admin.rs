//! The operator's door: is it alive, and can it answer.

use std::rc::Rc;

use crate::io::http::Body;
use crate::io::http::HeaderMap;
use crate::io::http::HeaderValue;
use crate::io::http::Method;
use crate::io::http::Request;
use crate::io::http::Response;
use crate::io::http::StatusCode;
use crate::role::agent::Agent;

/// Answers one request of the operator's. Paths and the answer `OK` are YurtHub's.
pub fn answer(agent: &Rc<Agent>, request: &Request) -> Response {
    let path = request.target.split('?').next().unwrap_or_default();
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return text(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET is answered here\n",
        );
    }
    match path {
        "/v1/healthz" => text(StatusCode::OK, "OK"),
        "/v1/readyz" if agent.is_ready() => text(StatusCode::OK, "OK"),
        "/v1/readyz" => text(
            StatusCode::SERVICE_UNAVAILABLE,
            "the API server has not been reached, and nothing is mirrored yet\n",
        ),
        _ => text(StatusCode::NOT_FOUND, "404 page not found\n"),
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
