//! A client's request, as hyper has parsed it, as a request of ours.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use hyper::Version;
use hyper::body::Body as _;
use hyper::body::Incoming;

use crate::io::http::Body;
use crate::io::http::Bytes;
use crate::io::http::Error;
use crate::io::http::HeaderValue;
use crate::io::http::Method;
use crate::io::http::Request;
use crate::io::http::body::Stream;

/// What hyper has parsed, as a request of ours; or the code and the reason of its refusal.
///
/// The values are copied: they point into the connection's read buffer, and as long as one does, hyper, which goes on
/// reading, needs a second one. A watch would hold both for its life.
pub(super) fn read(
    request: hyper::Request<Incoming>,
) -> Result<(Request, Upload), (u16, &'static str)> {
    let (mut head, body) = request.into_parts();
    for value in head.headers.values_mut() {
        // Fails on no value that was one.
        if let Ok(copy) = HeaderValue::from_bytes(value.as_bytes()) {
            *value = copy;
        }
    }
    if head.method == Method::CONNECT {
        return Err((400, "CONNECT is not spoken here"));
    }
    if head.version == Version::HTTP_2 {
        return Err((400, "HTTP/2 is not spoken here"));
    }
    let codings: Vec<_> = head.headers.get_all("transfer-encoding").iter().collect();
    match codings[..] {
        [] => {}
        [coding] if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {}
        _ => return Err((501, "the only transfer coding is chunked")),
    }
    let hosts: Vec<_> = head.headers.get_all("host").iter().collect();
    match hosts[..] {
        [] if head.version == Version::HTTP_10 => {}
        [host] if is_host(host.as_bytes()) => {}
        [] => return Err((400, "the Host field is missing")),
        [_] => return Err((400, "the Host field is not a host")),
        _ => return Err((400, "there are several Host fields")),
    }
    // Absolute form (RFC 9112, 3.2.2) becomes origin form; the scheme and the host in it tell nothing new.
    let target = match (head.uri.path_and_query(), head.uri.scheme()) {
        (Some(target), _) => target.as_str(),
        (None, Some(_)) => "/",
        (None, None) => return Err((400, "the target is no path")),
    };
    if !target.starts_with('/') {
        return Err((400, "the target must begin with a slash"));
    }
    let upload = Upload(Rc::new(Cell::new(body.is_end_stream())));
    let body = if upload.0.get() {
        Body::empty()
    } else {
        Body::stream(Uploading {
            body: Body::incoming(body),
            upload: Upload(Rc::clone(&upload.0)),
        })
    };
    let request = Request {
        method: head.method,
        target: target.to_owned(),
        headers: head.headers,
        body,
    };
    Ok((request, upload))
}

/// Whether a request's body has been read to its end.
pub(super) struct Upload(Rc<Cell<bool>>);

impl Upload {
    /// It has.
    pub(super) fn is_over(&self) -> bool {
        self.0.get()
    }
}

/// A request's body that tells when it has been read.
struct Uploading {
    body: Body,
    upload: Upload,
}

impl Stream for Uploading {
    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Error>>> {
        let next = ready!(self.body.poll_next(cx));
        if next.is_none() {
            self.upload.0.set(true);
        }
        Poll::Ready(next)
    }
}

/// Host and optional port, of the characters that RFC 3986 3.2 has for them.
fn is_host(host: &[u8]) -> bool {
    !host.is_empty()
        && host
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~:[]%!$&'()*+,;=".contains(byte))
}
