//! HTTP/1.1 towards a server, on hyper's client: where HTTP/2 is not offered, and for Upgrade.

use std::cell::Cell;
use std::cell::RefCell;
use std::rc::Rc;

use hyper::Uri;
use hyper::client::conn::http1;
use hyper::header::HeaderValue;
use smol::LocalExecutor;
use smol::io::AsyncRead;
use smol::io::AsyncWrite;
use smol_hyper::rt::FuturesIo;

use crate::io::http::Body;
use crate::io::http::Error;
use crate::io::http::Request;
use crate::io::http::Response;
use crate::io::http::StatusCode;
use crate::io::http::tunnel::Tunnel;
use crate::io::latest::Notify;

/// The largest answer head.
const HEAD: usize = 32 << 10;

/// One connection: one exchange at a time.
pub struct Connection {
    sender: http1::SendRequest<Body>,
    authority: Rc<str>,
    end: Rc<End>,
}

/// Ends a connection from elsewhere.
pub struct Closer(Rc<End>);

impl Closer {
    /// Ends the connection at once, in the middle of an answer too.
    pub fn close(&self) {
        self.0.closed.set(true);
        self.0.bell.notify();
    }

    /// Whether it has ended.
    pub fn is_closed(&self) -> bool {
        self.0.closed.get()
    }
}

struct End {
    closed: Cell<bool>,
    bell: Notify,
    /// The stream, once the connection has become a tunnel.
    tunnel: RefCell<Option<Tunnel>>,
}

impl Connection {
    /// Begins HTTP/1.1 on `stream` with the server that `authority` names; it is driven on `executor`.
    pub async fn start<S>(
        stream: S,
        authority: Rc<str>,
        executor: &LocalExecutor<'static>,
    ) -> Result<Self, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (sender, connection) = http1::Builder::new()
            .preserve_header_case(true)
            .max_header_size(HEAD)
            .handshake(FuturesIo::new(stream))
            .await
            .map_err(|error| Error::unprocessed("begin HTTP/1.1", &error))?;
        let end = Rc::new(End {
            closed: Cell::new(false),
            bell: Notify::new(),
            tunnel: RefCell::default(),
        });
        let driven = Rc::clone(&end);
        executor
            .spawn(async move {
                let closed = async {
                    while !driven.closed.get() {
                        driven.bell.wait().await;
                    }
                    None
                };
                let ended = async { Some(connection.without_shutdown().await) };
                match smol::future::or(ended, closed).await {
                    Some(Ok(parts)) => {
                        driven
                            .tunnel
                            .replace(Some(Tunnel::new(parts.io.into_inner(), parts.read_buf)));
                    }
                    Some(Err(error)) => log::debug!("HTTP/1.1 connection ended: {error}"),
                    None => {}
                }
                driven.closed.set(true);
                driven.bell.notify();
            })
            .detach();
        Ok(Self {
            sender,
            authority,
            end,
        })
    }

    /// Whether the next exchange may begin: the last answer has been read whole.
    pub fn is_ready(&self) -> bool {
        self.sender.is_ready() && !self.is_closed()
    }

    /// Whether it has ended.
    pub fn is_closed(&self) -> bool {
        self.end.closed.get() || self.sender.is_closed()
    }

    /// What ends it from elsewhere.
    pub fn closer(&self) -> Closer {
        Closer(Rc::clone(&self.end))
    }

    /// One exchange.
    pub async fn send(&mut self, request: Request) -> Result<Response, Error> {
        let request = self.request(request)?;
        self.sender
            .ready()
            .await
            .map_err(|error| Error::unprocessed("send the request", &error))?;
        let answer = self
            .sender
            .try_send_request(request)
            .await
            .map_err(|mut error| {
                let unsent = error.take_message().is_some();
                let error = error.into_error();
                if unsent {
                    Error::unprocessed("send the request", &error)
                } else {
                    Error::upstream("read the answer", &error)
                }
            })?;
        let (head, body) = answer.into_parts();
        if head.headers.contains_key("content-length")
            && head.headers.contains_key("transfer-encoding")
        {
            // Two framings: whatever it means, it is not safe to pass on (RFC 9112, 6.3).
            return Err(Error::upstream(
                "read the answer",
                &"it has both Content-Length and Transfer-Encoding",
            ));
        }
        let tunnel = match head.status {
            StatusCode::SWITCHING_PROTOCOLS => Some(self.tunnel().await?),
            _ => None,
        };
        Ok(Response {
            status: head.status,
            headers: head.headers,
            body: Body::incoming(body),
            tunnel,
        })
    }

    /// The stream behind a 101.
    async fn tunnel(&self) -> Result<Tunnel, Error> {
        while !self.end.closed.get() {
            self.end.bell.wait().await;
        }
        let tunnel = self.end.tunnel.take();
        tunnel.ok_or_else(|| Error::upstream("open the tunnel", &"the connection has ended"))
    }

    fn request(&self, request: Request) -> Result<hyper::Request<Body>, Error> {
        if request.target.contains('#') {
            return Err(Error::client("send the request", &"the target has a '#'"));
        }
        let uri: Uri = request
            .target
            .parse()
            .map_err(|error| Error::client("send the request", &error))?;
        let mut headers = request.headers;
        headers.remove("expect");
        let host = HeaderValue::from_str(&self.authority)
            .map_err(|error| Error::client("send the request", &error))?;
        headers.insert("host", host);
        // hyper drops the body of a GET that does not say that it has one.
        if !request.body.is_empty() && !headers.contains_key("content-length") {
            headers.insert("transfer-encoding", HeaderValue::from_static("chunked"));
        }
        let mut built = hyper::Request::new(request.body);
        *built.method_mut() = request.method;
        *built.uri_mut() = uri;
        *built.headers_mut() = headers;
        Ok(built)
    }
}
