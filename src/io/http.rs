//! HTTP: requests, answers and streamed bodies, whoever speaks them underneath.
//!
//! Local clients come in over HTTP/1.1 ([`server`], hyper). Servers are asked over HTTP/2 ([`h2`], the `h2` crate) or, where
//! they don't offer it and for Upgrade, over HTTP/1.1 ([`h1`], hyper's client). Nothing above knows which it was.

pub mod body;
pub mod h1;
pub mod h2;
mod inbound;
pub mod server;
pub mod tunnel;
mod wire;

use std::fmt;

pub use hyper::HeaderMap;
pub use hyper::Method;
pub use hyper::StatusCode;
pub use hyper::body::Bytes;
pub use hyper::header::HeaderName;
pub use hyper::header::HeaderValue;

pub use crate::io::http::body::Body;
pub use crate::io::http::body::Sink;
use crate::io::http::tunnel::Tunnel;

/// Fields that belong to one connection (RFC 9110, 7.6.1).
const CONNECTION: [&str; 7] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A request.
pub struct Request {
    /// The method, any token.
    pub method: Method,
    /// The target in origin form, as it stands on the wire.
    pub target: String,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Body,
}

impl Request {
    /// A request made here.
    pub fn new(method: Method, target: String, headers: HeaderMap, body: Body) -> Self {
        Self {
            method,
            target,
            headers,
            body,
        }
    }

    /// The same request again, if it has no body that would have to be sent again too.
    pub fn again(&self) -> Option<Self> {
        self.body.is_empty().then(|| {
            Self::new(
                self.method.clone(),
                self.target.clone(),
                self.headers.clone(),
                Body::empty(),
            )
        })
    }
}

/// An answer.
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Body,
    /// What stands behind a `101 Switching Protocols`.
    pub tunnel: Option<Tunnel>,
}

/// Takes out what belongs to one connection, the fields named by `Connection` included.
pub fn strip_connection_fields(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all("connection")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in CONNECTION {
        headers.remove(name);
    }
}

/// Whose fault an exchange ended by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who asked: the request can't be sent.
    Client,
    /// Who was asked, or the line to it.
    Upstream,
    /// This node.
    Local,
}

/// What became of the request that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The server has certainly not acted on it: it may be sent again.
    Unprocessed,
    /// Nobody knows.
    Unknown,
}

/// An exchange that failed.
#[derive(Debug)]
pub struct Error {
    side: Side,
    fate: Fate,
    op: &'static str,
    why: String,
}

impl Error {
    /// The request can't be sent.
    pub fn client(op: &'static str, why: &dyn fmt::Display) -> Self {
        Self {
            side: Side::Client,
            fate: Fate::Unprocessed,
            op,
            why: why.to_string(),
        }
    }

    /// The server or the line failed, at an unknown point.
    pub fn upstream(op: &'static str, why: &dyn fmt::Display) -> Self {
        Self {
            side: Side::Upstream,
            fate: Fate::Unknown,
            op,
            why: why.to_string(),
        }
    }

    /// The server or the line failed before the request was acted on.
    pub fn unprocessed(op: &'static str, why: &dyn fmt::Display) -> Self {
        Self {
            side: Side::Upstream,
            fate: Fate::Unprocessed,
            op,
            why: why.to_string(),
        }
    }

    /// This node failed.
    pub fn local(op: &'static str, why: &dyn fmt::Display) -> Self {
        Self {
            side: Side::Local,
            fate: Fate::Unknown,
            op,
            why: why.to_string(),
        }
    }

    /// Whether who was asked, or the line to it, failed.
    pub fn is_upstream(&self) -> bool {
        self.side == Side::Upstream
    }

    /// Whose fault it was.
    pub fn side(&self) -> Side {
        self.side
    }

    /// What became of the request.
    pub fn fate(&self) -> Fate {
        self.fate
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "can't {}: {}", self.op, self.why)
    }
}

impl std::error::Error for Error {}
