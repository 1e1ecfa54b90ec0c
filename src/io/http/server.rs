//! The local doors: HTTP/1.1 on hyper's server.
//!
//! Framing, limits and pipelining are hyper's. What it lets through and RFC 9112 forbids is refused here: a missing or
//! doubled Host, transfer codings other than `chunked`, CONNECT. A client that leaves an idle watch is noticed because
//! hyper goes on reading (`half_close(false)`), and its body is dropped then, with all that made it.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;
use std::time::Instant;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use smol::LocalExecutor;
use smol::Timer;
use smol_hyper::rt::SmolTimer;

use crate::io::http::Body;
use crate::io::http::Error;
use crate::io::http::HeaderMap;
use crate::io::http::HeaderValue;
use crate::io::http::Request;
use crate::io::http::Response;
use crate::io::http::StatusCode;
use crate::io::http::inbound;
use crate::io::http::inbound::Upload;
use crate::io::http::tunnel::Tunnel;
use crate::io::http::wire::Wire;
use crate::io::kernel;
use crate::io::latest::Notify;
use crate::io::net::Accepted;
use crate::io::net::Listener;

/// The longest request head, and the most fields in one.
const HEAD: usize = 32 << 10;
const FIELDS: usize = 128;
/// How long a head may take, and how long a connection may idle between two requests (hyper has one knob for both).
/// Longer than the 90 s after which Go's clients close an idle connection themselves: closing first would race with a
/// request that is on its way.
const HEAD_TIMEOUT: Duration = Duration::from_secs(120);
/// How long accepting rests when there is no descriptor or memory for a client.
const REST: Duration = Duration::from_millis(100);

/// Clients that may be in at once, where there are descriptors for them.
const CLIENTS: usize = 4096;
/// Descriptors that are kept for everything else: the line, logs, the other door.
const OWN: usize = 64;
/// Clients beyond that, who are told to come back later.
const REFUSED: usize = 16;
/// Clients of one address of the network; this node's own are not counted.
const PER_ADDRESS: usize = 256;

/// What a refusal looks like: a status code and why, as a content type and a body.
pub type Refuse = fn(u16, &str) -> (&'static str, Vec<u8>);

type Answering = Pin<Box<dyn Future<Output = Response>>>;

/// A door: a listener, who answers, and the clients that are in.
pub struct Door {
    listener: Listener,
    /// How many clients may be in.
    limit: usize,
    inside: Rc<Inside>,
    executor: Rc<LocalExecutor<'static>>,
}

struct Inside {
    answer: Box<dyn Fn(Request) -> Answering>,
    refuse: Refuse,
    clients: Cell<usize>,
    /// Clients by address.
    peers: RefCell<HashMap<IpAddr, usize>>,
    closing: Cell<bool>,
    bell: Notify,
}

impl Door {
    /// A door at `listener`; clients are served on `executor`.
    pub fn new<F>(
        listener: Listener,
        refuse: Refuse,
        executor: Rc<LocalExecutor<'static>>,
        answer: impl Fn(Request) -> F + 'static,
    ) -> Self
    where
        F: Future<Output = Response> + 'static,
    {
        let inside = Inside {
            answer: Box::new(move |request| Box::pin(answer(request))),
            refuse,
            clients: Cell::new(0),
            peers: RefCell::default(),
            closing: Cell::new(false),
            bell: Notify::new(),
        };
        Self {
            listener,
            limit: kernel::descriptors()
                .saturating_sub(OWN)
                .clamp(REFUSED, CLIENTS),
            inside: Rc::new(inside),
            executor,
        }
    }

    /// Where it is.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.address()
    }

    /// Clients that are in.
    pub fn clients(&self) -> usize {
        self.inside.clients.get()
    }

    /// Lets clients in, until the future is dropped; those who are in stay.
    pub async fn open(&self) {
        loop {
            match self.listener.accept().await {
                Ok(stream) => {
                    let guest = Guest::new(&self.inside, stream.peer());
                    let full = guest.refused(self.limit);
                    // Those who are refused take room too, for the moment that it takes.
                    if self.inside.clients.get() <= self.limit + REFUSED {
                        let client = Box::pin(serve(stream, guest, full));
                        self.executor.spawn(client).detach();
                    }
                }
                Err(error) => {
                    log::warn!("can't accept a client: {error}");
                    Timer::after(REST).await;
                }
            }
        }
    }

    /// Asks clients to leave after what they are doing, and waits until all have, or `until`.
    pub async fn close(&self, until: Instant) {
        self.inside.closing.set(true);
        self.inside.bell.notify();
        let late = async {
            Timer::at(until).await;
        };
        let left = async {
            while self.inside.clients.get() > 0 {
                self.inside.bell.wait().await;
            }
        };
        smol::future::or(left, late).await;
    }
}

/// A client that is in.
struct Guest(Rc<Inside>, IpAddr);

impl Guest {
    fn new(inside: &Rc<Inside>, peer: IpAddr) -> Self {
        inside.clients.set(inside.clients.get() + 1);
        *inside.peers.borrow_mut().entry(peer).or_default() += 1;
        Self(Rc::clone(inside), peer)
    }

    /// The code that it is refused with, if there are too many: of all clients, or of this address.
    fn refused(&self, limit: usize) -> Option<u16> {
        let from_here = self.0.peers.borrow().get(&self.1).copied();
        if self.0.clients.get() > limit {
            Some(503)
        } else if !self.1.is_loopback() && from_here.is_some_and(|count| count > PER_ADDRESS) {
            Some(429)
        } else {
            None
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.clients.set(self.0.clients.get() - 1);
        let mut peers = self.0.peers.borrow_mut();
        if let Some(count) = peers.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                peers.remove(&self.1);
            }
        }
        if self.0.closing.get() {
            self.0.bell.notify();
        }
    }
}

async fn serve(stream: Accepted, guest: Guest, guest_full: Option<u16>) {
    let tunnel = Rc::new(RefCell::new(None));
    let inside = Rc::clone(&guest.0);
    let service = {
        let (inside, tunnel) = (Rc::clone(&inside), Rc::clone(&tunnel));
        // Boxed: a connection that waits should not carry the size of the largest answer.
        service_fn(move |request| {
            let asked = match guest_full {
                Some(code) => Err((code, "there are too many clients here now")),
                None => inbound::read(request),
            };
            Box::pin(exchange(asked, Rc::clone(&inside), Rc::clone(&tunnel)))
        })
    };
    let mut connection = http1::Builder::new()
        .auto_date_header(false)
        .half_close(false)
        .max_buf_size(HEAD + (4 << 10))
        .max_header_size(HEAD)
        .max_headers(FIELDS)
        .timer(SmolTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(Wire::new(stream), service);
    let ended = {
        let mut asked = inside.closing.get();
        if asked {
            Pin::new(&mut connection).graceful_shutdown();
        }
        let mut closing = inside.bell.wait();
        std::future::poll_fn(|cx| {
            if !asked && Pin::new(&mut closing).poll(cx).is_ready() {
                asked = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            Pin::new(&mut connection).poll(cx)
        })
        .await
    };
    if let Err(error) = ended {
        log::debug!("client connection ended: {}", chain(&error));
        return;
    }
    let tunnel: Option<Tunnel> = tunnel.take();
    if let Some(tunnel) = tunnel {
        let parts = connection.into_parts();
        let client = Tunnel::new(parts.io.into_inner(), parts.read_buf);
        let closing = async {
            while !inside.closing.get() {
                inside.bell.wait().await;
            }
            Ok(())
        };
        if let Err(error) = smol::future::or(client.join(tunnel), closing).await {
            log::debug!("tunnel ended: {error}");
        }
    }
}

async fn exchange(
    asked: Result<(Request, Upload), (u16, &'static str)>,
    inside: Rc<Inside>,
    tunnel: Rc<RefCell<Option<Tunnel>>>,
) -> Result<hyper::Response<Body>, Error> {
    let mut response = match asked {
        Ok((request, upload)) => {
            let mut response = (inside.answer)(request).await;
            if !upload.is_over() && response.tunnel.is_none() {
                // hyper does not wait for the rest of the body and closes; who is told so does not take it for a fault.
                let close = HeaderValue::from_static("close");
                response.headers.insert("connection", close);
            }
            response
        }
        Err((code, why)) => {
            let (kind, body) = (inside.refuse)(code, why);
            let mut headers = HeaderMap::new();
            headers.insert("content-type", HeaderValue::from_static(kind));
            headers.insert("connection", HeaderValue::from_static("close"));
            if matches!(code, 429 | 503) {
                headers.insert("retry-after", HeaderValue::from_static("1"));
            }
            let status = StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_REQUEST);
            Response {
                status,
                headers,
                body: Body::full(body),
                tunnel: None,
            }
        }
    };
    if let Some(stream) = response.tunnel.take() {
        tunnel.replace(Some(stream));
    }
    let mut answer = hyper::Response::new(response.body);
    *answer.status_mut() = response.status;
    *answer.headers_mut() = response.headers;
    Ok(answer)
}

/// An error and what it came from: hyper's own words leave out ours.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
