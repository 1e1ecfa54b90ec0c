//! Sockets, TLS and HTTP of the fake server, and the faults that are put on its answers.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::future::pending;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::rc::Weak;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use futures_rustls::TlsAcceptor;
use hyper::Request;
use hyper::Response;
use hyper::Version;
use hyper::body::Body as _;
use hyper::body::Incoming;
use hyper::header::HeaderName;
use hyper::rt::Read;
use hyper::rt::ReadBuf;
use hyper::rt::Write;
use hyper::server::conn::http1;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use smol::Async;
use smol::LocalExecutor;
use smol::Timer;
use smol::channel::Receiver;
use smol::future::FutureExt as _;
use smol::io::AsyncRead;
use smol::io::AsyncWrite;
use smol_hyper::rt::FuturesIo;

use super::Action;
use super::Recorded;
use super::Shared;
use super::answer;
use super::answer::Ask;
use super::answer::Reply;
use super::answer::Whole;
use super::answer::failure;
use super::body::Body;
use super::body::OpenWatch;
use super::form::Form;
use super::kind::Place;
use super::kind::place;
use super::kind::without_watch;
use super::watch;

/// What is told to an open connection.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    /// GOAWAY, or the close of a connection of HTTP/1.1 after its answer.
    Leave,
    /// Closed at once.
    Die,
}

/// Spawns onto the server's executor while that lives.
#[derive(Clone)]
struct Spawner(Weak<LocalExecutor<'static>>);

impl<F> hyper::rt::Executor<F> for Spawner
where
    F: Future + 'static,
{
    fn execute(&self, future: F) {
        if let Some(executor) = self.0.upgrade() {
            executor
                .spawn(async move {
                    future.await;
                })
                .detach();
        }
    }
}

/// What is known of the connection that a request came over.
#[derive(Clone)]
struct Door {
    /// Whether its requests are recorded and must be authorised: the TLS door.
    real: bool,
    /// Whether a client certificate was shown.
    identified: bool,
    /// Requests so far.
    served: Rc<Cell<u32>>,
    /// The connection's number.
    connection: u64,
}

/// Serves both doors until told to stop.
pub fn run(
    shared: Arc<Shared>,
    tls: Arc<rustls::ServerConfig>,
    secure: std::net::TcpListener,
    plain: std::net::TcpListener,
    stop: Receiver<()>,
) {
    let executor = Rc::new(LocalExecutor::new());
    let spawner = Spawner(Rc::downgrade(&executor));
    let main = async {
        let secure = accept(
            shared.clone(),
            spawner.clone(),
            secure,
            Some(TlsAcceptor::from(tls)),
        );
        let plain = accept(shared.clone(), spawner.clone(), plain, None);
        let stopped = async {
            // Closed when the handle is dropped.
            let _ = stop.recv().await;
            Ok(())
        };
        secure.or(plain).or(stopped).await
    };
    // An accept loop that fails ends the server; the test that needs it fails to connect and says so.
    let _ = smol::block_on(executor.run(main));
}

async fn accept(
    shared: Arc<Shared>,
    spawner: Spawner,
    listener: std::net::TcpListener,
    tls: Option<TlsAcceptor>,
) -> io::Result<()> {
    let listener = Async::new(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.get_ref().set_nodelay(true)?;
        let (orders, inbox) = smol::channel::unbounded();
        let connection = {
            let mut state = shared.state();
            state.connections.retain(|orders| !orders.is_closed());
            if tls.is_some() {
                state.connections.push(orders);
                state.connections_seen += 1;
            }
            state.connections_seen
        };
        let mut door = Door {
            real: tls.is_some(),
            identified: false,
            served: Rc::default(),
            connection,
        };
        let (shared, tls, inner) = (shared.clone(), tls.clone(), spawner.clone());
        let task = async move {
            let Some(tls) = tls else {
                return http1_connection(shared, inner, door, stream, inbox).await;
            };
            let Ok(stream) = tls.accept(stream).await else {
                return;
            };
            let session = stream.get_ref().1;
            door.identified = session.peer_certificates().is_some();
            if session.alpn_protocol() == Some(b"h2") {
                http2_connection(shared, inner, door, stream, inbox).await;
            } else {
                http1_connection(shared, inner, door, stream, inbox).await;
            }
        };
        hyper::rt::Executor::execute(&spawner, task);
    }
}

async fn http1_connection<S>(
    shared: Arc<Shared>,
    spawner: Spawner,
    door: Door,
    stream: S,
    inbox: Receiver<Order>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service(shared.clone(), spawner, door.clone());
    let connection = http1::Builder::new()
        .half_close(false)
        .serve_connection(FuturesIo::new(stream), service)
        .with_upgrades();
    drive(
        connection,
        |connection| connection.graceful_shutdown(),
        &shared,
        &door,
        inbox,
    )
    .await;
}

async fn http2_connection<S>(
    shared: Arc<Shared>,
    spawner: Spawner,
    door: Door,
    stream: S,
    inbox: Receiver<Order>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service(shared.clone(), spawner.clone(), door.clone());
    let connection = http2::Builder::new(spawner)
        .max_concurrent_streams(shared.options.max_streams)
        .serve_connection(FuturesIo::new(stream), service);
    drive(
        connection,
        |connection| connection.graceful_shutdown(),
        &shared,
        &door,
        inbox,
    )
    .await;
}

/// Runs a connection, obeys orders, and says goodbye after the number of requests that the options allow.
async fn drive<C: Future>(
    connection: C,
    leave: impl Fn(Pin<&mut C>),
    shared: &Shared,
    door: &Door,
    inbox: Receiver<Order>,
) {
    let mut connection = Box::pin(connection);
    let mut inbox = Box::pin(inbox);
    let mut left = false;
    poll_fn(|cx| {
        loop {
            let spent = shared
                .options
                .goaway_after
                .is_some_and(|limit| door.served.get() >= limit);
            if spent && !left {
                left = true;
                leave(connection.as_mut());
            }
            match smol::stream::Stream::poll_next(inbox.as_mut(), cx) {
                Poll::Ready(Some(Order::Leave)) if !left => {
                    left = true;
                    leave(connection.as_mut());
                }
                Poll::Ready(Some(Order::Die)) => return Poll::Ready(()),
                Poll::Ready(Some(Order::Leave)) => {}
                Poll::Ready(None) | Poll::Pending => {
                    let before = door.served.get();
                    if connection.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(());
                    }
                    if door.served.get() == before {
                        return Poll::Pending;
                    }
                }
            }
        }
    })
    .await;
}

type Answered = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>>>>;

fn service(
    shared: Arc<Shared>,
    spawner: Spawner,
    door: Door,
) -> impl hyper::service::HttpService<Incoming, ResBody = Body, Error = Infallible, Future = Answered>
{
    service_fn(move |request| -> Answered {
        door.served.set(door.served.get() + 1);
        Box::pin(serve(
            shared.clone(),
            spawner.clone(),
            door.clone(),
            request,
        ))
    })
}

async fn serve(
    shared: Arc<Shared>,
    spawner: Spawner,
    door: Door,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let header = |name: &str| {
        let value = request.headers().get(name);
        value
            .and_then(|value| value.to_str().ok())
            .map(str::to_string)
    };
    let target = request
        .uri()
        .path_and_query()
        .map_or_else(|| "/".to_string(), ToString::to_string);
    let authorization = header("authorization");
    let upgrade = header("upgrade");
    let mut query = decode_query(request.uri().query().unwrap_or_default());
    let path = match without_watch(request.uri().path()) {
        Some(path) => {
            query.push(("watch".into(), "true".into()));
            path
        }
        None => request.uri().path().to_string(),
    };
    let mut ask = Ask {
        method: request.method().to_string(),
        path,
        query,
        accept: header("accept").unwrap_or_default(),
        gzip: shared.options.gzip
            && header("accept-encoding").is_some_and(|value| value.contains("gzip")),
        content_type: header("content-type").unwrap_or_default(),
        if_none_match: header("if-none-match").unwrap_or_default(),
        body: Vec::new(),
    };
    let recorded = Recorded {
        at: Instant::now(),
        method: ask.method.clone(),
        target,
        accept: ask.accept.clone(),
        authorization: authorization.clone(),
        accept_encoding: header("accept-encoding").unwrap_or_default(),
        content_type: ask.content_type.clone(),
        body: Vec::new(),
        user_agent: header("user-agent").unwrap_or_default(),
        protocol: format!("{:?}", request.version()),
        connection: door.connection,
        number: 0,
        list: ask.is_list(),
        watch: ask.is_watch(),
    };
    let (number, action) = match door.real {
        true => shared.note(recorded, &ask),
        false => (0, None),
    };
    let wanted = shared
        .options
        .token
        .as_ref()
        .map(|token| format!("Bearer {token}"));
    let authorised = door.identified || wanted.is_some() && authorization == wanted;
    if door.real && !authorised {
        return Ok(respond(failure(401, "Unauthorized", "Unauthorized", None)));
    }
    if let Some(Action::Hold) = action {
        pending::<()>().await;
    }
    if let Some(Action::Late(delay)) = action {
        Timer::after(delay).await;
    }
    if upgrade.is_some() && request.version() == Version::HTTP_11 && takes_upgrades(&ask.path) {
        let upgraded = hyper::upgrade::on(&mut request);
        hyper::rt::Executor::execute(&spawner, async move {
            if let Ok(upgraded) = upgraded.await {
                // The echo ends when either side does; there is nobody to tell.
                let _ = echo(upgraded).await;
            }
        });
        let mut response = Response::new(Body::whole(Vec::new()));
        *response.status_mut() = hyper::StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(
            "connection",
            hyper::header::HeaderValue::from_static("Upgrade"),
        );
        if let Some(value) = request.headers().get("upgrade") {
            headers.insert("upgrade", value.clone());
        }
        return Ok(response);
    }
    let Some(body) = read_body(request.into_body()).await else {
        // The request broke off: nobody reads the answer.
        return Ok(respond(failure(
            400,
            "BadRequest",
            "the body ended early",
            None,
        )));
    };
    shared.note_body(number, &body);
    ask.body = body;
    Ok(match action {
        Some(Action::Status(code)) => {
            let form = ask.form().unwrap_or(Form::of_refusal(&ask.accept));
            respond(form.sealed(&scripted(code)))
        }
        Some(Action::Answer {
            status,
            headers,
            body,
        }) => respond(Whole {
            status,
            headers,
            body,
        }),
        Some(Action::CutAfter(bytes)) => {
            let response = reply(&shared, &spawner, &ask);
            let (parts, body) = response.into_parts();
            Response::from_parts(parts, body.cut_after(bytes))
        }
        _ => reply(&shared, &spawner, &ask),
    })
}

fn takes_upgrades(path: &str) -> bool {
    matches!(place(path), Place::Resource { subresource, .. }
        if matches!(subresource.as_str(), "exec" | "attach" | "portforward"))
}

/// The ordinary answer.
fn reply(shared: &Arc<Shared>, spawner: &Spawner, ask: &Ask) -> Response<Body> {
    let answer = answer::answer(&mut shared.state().store, ask, shared.options.watch_list);
    match answer {
        Reply::Whole(whole) => respond(whole),
        Reply::Watch(plan) => {
            let (lines, receiver) = smol::channel::bounded(4);
            let stream = plan.form.stream();
            hyper::rt::Executor::execute(spawner, watch::run(shared.clone(), *plan, lines));
            let mut response = respond(Whole {
                status: 200,
                headers: vec![("content-type", stream.into())],
                body: Vec::new(),
            });
            *response.body_mut() = Body::watch(receiver, OpenWatch::new(shared));
            response
        }
        Reply::Log => {
            let (lines, receiver) = smol::channel::bounded(4);
            hyper::rt::Executor::execute(spawner, watch::log(shared.clone(), lines));
            let mut response = respond(Whole::text(200, ""));
            *response.body_mut() = Body::watch(receiver, OpenWatch::new(shared));
            response
        }
    }
}

/// An answer with the headers that the real server puts on everything.
fn respond(whole: Whole) -> Response<Body> {
    let mut response = Response::new(Body::whole(whole.body));
    // A test's own status code; one that is none would be a slip of the test.
    *response.status_mut() = hyper::StatusCode::from_u16(whole.status).expect("a status code");
    let headers = response.headers_mut();
    let usual = [
        (
            "audit-id",
            "00000000-0000-4000-8000-000000000000".to_string(),
        ),
        ("cache-control", "no-cache, private".to_string()),
    ];
    for (name, value) in usual.into_iter().chain(whole.headers) {
        let value = value.parse().expect("a test's header");
        headers.insert(HeaderName::from_static(name), value);
    }
    response
}

/// The Status of a scripted failure.
fn scripted(code: u16) -> Whole {
    let (reason, message) = match code {
        401 => ("Unauthorized", "Unauthorized"),
        403 => ("Forbidden", "forbidden: User \"test\" cannot do this"),
        404 => ("NotFound", "not found"),
        429 => (
            "TooManyRequests",
            "too many requests, please try again later",
        ),
        503 => ("ServiceUnavailable", "apiserver is shutting down"),
        504 => ("Timeout", "the request timed out"),
        _ => (
            "InternalError",
            "Internal error occurred: scripted by the test",
        ),
    };
    let mut answer = failure(code, reason, message, None);
    if code == 429 {
        answer.headers.push(("retry-after", "1".into()));
    }
    answer
}

async fn read_body(mut body: Incoming) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        if let Ok(data) = frame.ok()?.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    Some(bytes)
}

/// Sends back what comes in.
async fn echo(mut upgraded: hyper::upgrade::Upgraded) -> io::Result<()> {
    let mut bytes = [0; 4096];
    loop {
        let length = poll_fn(|cx| {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut upgraded).poll_read(cx, buffer.unfilled()) {
                Poll::Ready(Ok(())) => Poll::Ready(Ok(buffer.filled().len())),
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await?;
        if length == 0 {
            return poll_fn(|cx| Pin::new(&mut upgraded).poll_shutdown(cx)).await;
        }
        let mut sent = 0;
        while sent < length {
            sent +=
                poll_fn(|cx| Pin::new(&mut upgraded).poll_write(cx, &bytes[sent..length])).await?;
        }
        poll_fn(|cx| Pin::new(&mut upgraded).poll_flush(cx)).await?;
    }
}

fn decode_query(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        let hex = (*byte == b'%').then(|| tail.get(..2)).flatten();
        let decoded = hex
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match decoded {
            Some(decoded) => {
                bytes.push(decoded);
                rest = &tail[2..];
            }
            None => {
                bytes.push(if *byte == b'+' { b' ' } else { *byte });
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
