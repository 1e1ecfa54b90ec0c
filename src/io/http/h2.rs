//! HTTP/2 towards a server, on the `h2` crate: one connection, many exchanges.
//!
//! The settings are measured (README, "How it works"): a stream's window is what a shared line may be blocked by and
//! follows its speed, the connection's must hold that of all stalled readers, and unread small frames (bookmarks) must not
//! end the connection.

mod answer;

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use h2::Reason;
use h2::SendStream;
use h2::client::SendRequest;
use hyper::Uri;
use hyper::http::uri::PathAndQuery;
use smol::LocalExecutor;
use smol::future::FutureExt;
use smol::io::AsyncRead;
use smol::io::AsyncWrite;
use tokio_util::compat::FuturesAsyncReadCompatExt;

use crate::io::http::Body;
use crate::io::http::Bytes;
use crate::io::http::Error;
use crate::io::http::Request;
use crate::io::http::Response;
use crate::io::http::h2::answer::Answer;
use crate::io::http::h2::answer::Windows;
use crate::io::http::strip_connection_fields;
use crate::io::latest::Notify;
use crate::rule::window;

/// The connection's receive window: room for thirty stalled readers.
const CONNECTION_WINDOW: u32 = 32 * window::MOST;
/// Answer heads and lists of header fields.
const HEADER_LIST: u32 = 16 << 10;
/// Streams that are kept free on a connection before another one is opened.
const SPARE_STREAMS: usize = 8;
/// Streams that a server which has said nothing yet is taken to allow.
const ASSUMED_STREAMS: usize = 8;

/// How many streams a server allows, as it said last: `None` before it has said anything. Kept from connection to
/// connection, so that only the first one has to wait for the server's SETTINGS before it takes many requests.
pub type Allowed = Rc<Cell<Option<usize>>>;

/// One connection. Dropping the last handle and every answer's body ends it.
#[derive(Clone)]
pub struct Connection {
    sender: SendRequest<Bytes>,
    authority: Rc<str>,
    executor: Rc<LocalExecutor<'static>>,
    state: Rc<State>,
}

struct State {
    active: Cell<usize>,
    windows: Windows,
    /// How many may be active at once.
    limit: Cell<usize>,
    allowed: Allowed,
    /// Rung when the limit is known, or has changed.
    limited: Notify,
    /// It takes no new requests.
    closing: Cell<bool>,
    goodbye: Notify,
    pinging: Cell<bool>,
    ping: Notify,
    /// It ends with the last exchange.
    retired: Cell<bool>,
    closed: Cell<bool>,
    ended: Notify,
}

impl State {
    fn close(&self) {
        self.closed.set(true);
        self.ended.notify();
    }

    fn say_goodbye(&self) {
        self.closing.set(true);
        self.goodbye.notify();
    }

    fn allow(&self, streams: usize) {
        if self.limit.replace(streams) != streams || self.allowed.get().is_none() {
            self.allowed.set(Some(streams));
            self.limited.notify();
        }
    }

    /// Returns when `place` exchanges are more than the server allows. `h2` holds back what was asked of it before it
    /// knew, and beside watches, which never end, holds it for ever.
    async fn beyond(&self, place: usize) {
        while place <= self.limit.get() {
            self.limited.wait().await;
        }
    }
}

/// Counts an exchange that is under way.
struct Active {
    state: Rc<State>,
    /// How many there were with this one when it began.
    place: usize,
}

impl Active {
    fn new(state: &Rc<State>) -> Self {
        let place = state.active.get() + 1;
        state.active.set(place);
        Self {
            state: Rc::clone(state),
            place,
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let left = self.state.active.get() - 1;
        self.state.active.set(left);
        if left == 0 && self.state.retired.get() {
            self.state.close();
        }
    }
}

impl Connection {
    /// Begins HTTP/2 on `stream` with the server that `authority` names and of which `allowed` is known. The connection is
    /// driven on `executor` until it ends or [`close`](Self::close) is called.
    pub async fn start<S>(
        stream: S,
        authority: Rc<str>,
        allowed: Allowed,
        executor: Rc<LocalExecutor<'static>>,
    ) -> Result<Self, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let failed = |error: h2::Error| Error::unprocessed("begin HTTP/2", &error);
        let limit = allowed.get().unwrap_or(ASSUMED_STREAMS);
        let (sender, mut connection) = h2::client::Builder::new()
            .enable_push(false)
            .initial_window_size(window::START)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(16_384)
            .max_header_list_size(HEADER_LIST)
            .max_send_buffer_size(64 << 10)
            .data_frame_budget(1 << 20)
            .max_concurrent_reset_streams(10)
            .initial_max_send_streams(limit)
            .handshake::<_, Bytes>(stream.compat())
            .await
            .map_err(failed)?;
        let state = Rc::new(State {
            active: Cell::new(0),
            windows: Windows::default(),
            limit: Cell::new(limit),
            allowed,
            limited: Notify::new(),
            closing: Cell::new(false),
            goodbye: Notify::new(),
            pinging: Cell::new(false),
            ping: Notify::new(),
            retired: Cell::new(false),
            closed: Cell::new(false),
            ended: Notify::new(),
        });
        let pings = connection.ping_pong();
        let driven = Rc::clone(&state);
        let drive = async move {
            let ended = async {
                let end = std::future::poll_fn(|cx| {
                    let mut end = Pin::new(&mut connection).poll(cx);
                    let set = |window| connection.set_initial_window_size(window).is_ok();
                    if end.is_pending() && driven.windows.tell(set) {
                        end = Pin::new(&mut connection).poll(cx);
                    }
                    let streams = connection.max_concurrent_send_streams();
                    if streams != driven.limit.get() {
                        driven.allow(streams);
                    }
                    end
                });
                if let Err(error) = end.await {
                    log::debug!("HTTP/2 connection ended: {error}");
                }
            };
            let ping = async {
                let Some(mut pings) = pings else {
                    return smol::future::pending().await;
                };
                loop {
                    driven.ping.wait().await;
                    driven.pinging.set(true);
                    let answered = pings.ping(h2::Ping::opaque()).await;
                    driven.pinging.set(false);
                    if answered.is_err() {
                        return smol::future::pending().await;
                    }
                }
            };
            let closed = async {
                while !driven.closed.get() {
                    driven.ended.wait().await;
                }
            };
            smol::future::or(smol::future::or(ended, ping), closed).await;
            driven.say_goodbye();
            driven.close();
        };
        executor.spawn(drive).detach();
        Ok(Self {
            sender,
            authority,
            executor,
            state,
        })
    }

    /// Whether new requests may be sent on it: it is not on its way out, and the server's stream limit is not near.
    pub fn has_room(&self) -> bool {
        // A server that allows a handful must not be taken for one that allows none.
        let limit = self.state.limit.get().max(1);
        let spare = SPARE_STREAMS.min(limit / 4);
        !self.state.closing.get() && self.state.active.get() + spare < limit
    }

    /// Whether the server has said how many streams it allows.
    pub fn is_settled(&self) -> bool {
        self.state.allowed.get().is_some()
    }

    /// Returns when the server has said how many streams it allows.
    pub async fn settled(&self) {
        while !self.is_settled() {
            self.state.limited.wait().await;
        }
    }

    /// Whether it takes no new requests (GOAWAY, or it has ended).
    pub fn is_closing(&self) -> bool {
        self.state.closing.get()
    }

    /// Returns when it takes no new requests.
    pub async fn closing(&self) {
        while !self.state.closing.get() {
            self.state.goodbye.wait().await;
        }
    }

    /// Sends a PING, unless one is on its way. The answer is heard as any byte is.
    pub fn ping(&self) {
        if !self.state.pinging.get() {
            self.state.ping.notify();
        }
    }

    /// Ends the connection and everything on it.
    pub fn close(&self) {
        self.state.close();
    }

    /// Takes no new requests, and ends with the last exchange.
    pub fn retire(&self) {
        self.state.retired.set(true);
        self.state.say_goodbye();
        if self.state.active.get() == 0 {
            self.state.close();
        }
    }

    /// Returns when the connection has ended.
    pub async fn ended(&self) {
        while !self.state.closed.get() {
            self.state.ended.wait().await;
        }
    }

    /// One exchange.
    pub async fn send(&self, request: Request) -> Result<Response, Error> {
        let head = self.head(&request)?;
        let mut body = request.body;
        let active = Active::new(&self.state);
        if active.place > self.state.limit.get().max(1) {
            return Err(Error::unprocessed(
                "send the request",
                &"the server allows no more streams",
            ));
        }
        let goodbye = |error: h2::Error| {
            // Nothing has been sent: whatever ended the connection, the request is somebody else's now.
            self.state.say_goodbye();
            Error::unprocessed("send the request", &error)
        };
        let mut sender = self.sender.clone().ready().await.map_err(goodbye)?;
        let asked = Instant::now();
        let (answer, upload) = sender
            .send_request(head, body.is_empty())
            .map_err(|error| {
                if error.is_user_reason() {
                    Error::client("send the request", &error)
                } else {
                    goodbye(error)
                }
            })?;
        drop(sender);
        if !body.is_empty() {
            self.executor
                .spawn(async move { send_body(&mut body, upload).await })
                .detach();
        }
        let place = active.place;
        let beyond = async {
            self.state.beyond(place).await;
            Err(Error::upstream(
                "send the request",
                &"the server allows fewer streams than were begun",
            ))
        };
        let answered = async {
            let answer = answer.await;
            // An answer comes after the server's SETTINGS: if they left the limit as it was, it is known by now.
            self.state.allow(self.state.limit.get());
            answer.map_err(|error| {
                if error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM) {
                    if error.is_go_away() {
                        self.state.say_goodbye();
                    }
                    Error::unprocessed("read the answer", &error)
                } else {
                    Error::upstream("read the answer", &error)
                }
            })
        };
        let answer = answered.or(beyond).await?;
        self.state.windows.answered(asked.elapsed());
        let (head, stream) = answer.into_parts();
        let body = if stream.is_end_stream() {
            Body::empty()
        } else {
            Body::stream(Answer::new(stream, &head.headers, active))
        };
        Ok(Response {
            status: head.status,
            headers: head.headers,
            body,
            tunnel: None,
        })
    }

    fn head(&self, request: &Request) -> Result<hyper::Request<()>, Error> {
        let refused = |why: &dyn std::fmt::Display| Error::client("send the request", why);
        // `http` cuts a fragment off without a word; a request target has none (RFC 9112, 3.2).
        if request.target.contains('#') {
            return Err(refused(&"the target has a '#'"));
        }
        let target =
            PathAndQuery::try_from(request.target.as_str()).map_err(|error| refused(&error))?;
        let uri = Uri::builder()
            .scheme("https")
            .authority(&*self.authority)
            .path_and_query(target)
            .build()
            .map_err(|error| refused(&error))?;
        let mut head = hyper::Request::new(());
        *head.method_mut() = request.method.clone();
        *head.uri_mut() = uri;
        *head.version_mut() = hyper::Version::HTTP_2;
        *head.headers_mut() = request.headers.clone();
        strip_connection_fields(head.headers_mut());
        head.headers_mut().remove("host");
        head.headers_mut().remove("expect");
        Ok(head)
    }
}

/// Reads tell user errors (a request that HTTP/2 can't carry) from those of the connection.
trait UserReason {
    fn is_user_reason(&self) -> bool;
}

impl UserReason for h2::Error {
    fn is_user_reason(&self) -> bool {
        !self.is_io() && !self.is_go_away() && !self.is_reset() && self.reason().is_none()
    }
}

/// Sends a request's body as the server makes room for it.
async fn send_body(body: &mut Body, mut upload: SendStream<Bytes>) {
    loop {
        let next = std::future::poll_fn(|cx| {
            // A server that refuses the rest is heard while the client is silent.
            if upload.poll_reset(cx).is_ready() {
                Poll::Ready(None)
            } else {
                body.poll_next(cx).map(Some)
            }
        });
        let mut bytes = match next.await {
            // An error means that the server has closed the stream: it will answer, or has.
            Some(None) => return drop(upload.send_data(Bytes::new(), true)),
            Some(Some(Ok(bytes))) => bytes,
            Some(Some(Err(_))) => {
                // The client has left in the middle: the server must not take it for whole.
                return upload.send_reset(Reason::CANCEL);
            }
            None => return,
        };
        while !bytes.is_empty() {
            upload.reserve_capacity(bytes.len());
            match std::future::poll_fn(|cx| upload.poll_capacity(cx)).await {
                Some(Ok(0)) => {}
                Some(Ok(room)) => {
                    let piece = bytes.split_to(room.min(bytes.len()));
                    if upload.send_data(piece, false).is_err() {
                        return;
                    }
                }
                Some(Err(_)) | None => return,
            }
        }
    }
}
