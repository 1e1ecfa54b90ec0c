//! Answers that the agent makes itself.

use std::time::Duration;

use crate::io::http::Body;
use crate::io::http::HeaderMap;
use crate::io::http::HeaderValue;
use crate::io::http::Response;
use crate::io::http::StatusCode;
use crate::k8s::status::Status;

/// A `Status` as an answer, with `Retry-After` when it has one.
pub fn status(status: &Status) -> Response {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = status.to_json();
    let mut response = with_body(code, Body::full(body));
    if let Some(seconds) = status.retry_after_seconds {
        response
            .headers
            .insert("retry-after", HeaderValue::from(seconds));
    }
    response
}

/// A JSON answer.
pub fn with_body(code: StatusCode, body: Body) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers.insert(
        "cache-control",
        HeaderValue::from_static("no-cache, private"),
    );
    Response {
        status: code,
        headers,
        body,
        tunnel: None,
    }
}

/// What the API server says of its health.
pub fn healthy() -> Response {
    let mut response = with_body(StatusCode::OK, Body::full("ok"));
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers.insert("content-type", text);
    response
}

/// Marks an answer that the mirror gave while cut off; users of kubectl see it (RFC 7234 5.5.2, warn-code 299).
pub fn aged(response: &mut Response, age: Option<Duration>) {
    let age = age.map_or("of unknown age".to_owned(), |age| {
        format!("{} s old", age.as_secs())
    });
    let text = format!(
        "299 - \"answered by this node's mirror, {age}: the line to the API server is down\""
    );
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers.insert("warning", value);
    }
}
