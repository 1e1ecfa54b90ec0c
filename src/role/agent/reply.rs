//! Answers that the agent makes itself.

use std::time::Duration;

use crate::io::http::Body;
use crate::io::http::HeaderMap;
use crate::io::http::HeaderValue;
use crate::io::http::Response;
use crate::io::http::StatusCode;
use crate::k8s::encoding::Encoding;
use crate::k8s::status::Status;
use crate::wire::status;

/// A `Status` as an answer in `encoding`, with `Retry-After` when it has one.
pub fn status(encoding: Encoding, status: &Status) -> Response {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = status::encode(encoding, status);
    let mut response = with_body(code, encoding.media_type(), Body::full(body));
    if let Some(seconds) = status.retry_after_seconds {
        response
            .headers
            .insert("retry-after", HeaderValue::from(seconds));
    }
    response
}

/// An answer of a media type.
pub fn with_body(code: StatusCode, media_type: &'static str, body: Body) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static(media_type));
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
    with_body(
        StatusCode::OK,
        "text/plain; charset=utf-8",
        Body::full("ok"),
    )
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
