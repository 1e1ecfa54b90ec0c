//! The API server: the connections to it, whether it can be reached, and one exchange with it.
//!
//! One task connects, and connects again when a connection has gone, at once after a loss and with jittered pauses after a
//! refusal. Health comes from what happens to connections and from what crosses them (`rule::health`). Who waits for an
//! answer when the line is given up is told so at once.

pub mod line;

use std::cell::Cell;
use std::cell::RefCell;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;
use std::time::SystemTime;

use smol::LocalExecutor;
use smol::Timer;
use smol::future::FutureExt;

use crate::io::http::Error;
use crate::io::http::Fate;
use crate::io::http::HeaderValue;
use crate::io::http::Request;
use crate::io::http::Response;
use crate::io::http::Side;
use crate::io::http::h1;
use crate::io::http::h2;
use crate::io::latest::Notify;
use crate::io::net;
use crate::io::net::Meter;
use crate::io::process;
use crate::io::tls;
use crate::rule::backoff::Backoff;
use crate::rule::health::Health;
use crate::rule::health::Input;
use crate::rule::health::Thresholds;
use crate::state::upstream::line::Line;

/// The pace of reconnecting: a node must be back within seconds of its line.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(500),
    cap: Duration::from_secs(5),
};
/// How long TCP may take: two retransmissions of a lost SYN, or two round trips of a very slow line.
const TCP: Duration = Duration::from_secs(6);
/// How long the TLS handshake may take.
const TLS: Duration = Duration::from_secs(9);

/// Which server, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// DNS name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Whom to trust and who we are.
    pub files: tls::Files,
    /// File of a bearer token, sent with requests that bring no `Authorization`.
    pub token_file: Option<PathBuf>,
    /// How much silence means what.
    pub thresholds: Thresholds,
}

/// An exchange that is under way.
pub type Exchange<'a> = Pin<Box<dyn Future<Output = Result<Response, Error>> + 'a>>;

/// A connection that is being made: its stream, and whether it speaks HTTP/2.
type Handshake<'a> =
    Pin<Box<dyn Future<Output = std::io::Result<(tls::Stream<net::Dialled>, bool)>> + 'a>>;

/// One API server.
pub struct Upstream {
    options: Options,
    authority: Rc<str>,
    executor: Rc<LocalExecutor<'static>>,
    tls: RefCell<tls::Client>,
    token: RefCell<Option<Token>>,
    lines: RefCell<Vec<Rc<Line>>>,
    health: Cell<Health>,
    changed: Notify,
    /// Somebody wants a connection that is not there.
    wanted: Cell<bool>,
    bell: Notify,
    meter: Rc<Meter>,
    connections: Cell<u32>,
    allowed: h2::Allowed,
}

/// A bearer token as read, and the file's stamp.
struct Token {
    stamp: Option<(SystemTime, u64)>,
    value: Option<HeaderValue>,
}

impl Upstream {
    /// An upstream that is not connected yet. An error names the file that can't be used.
    pub fn new(
        options: Options,
        executor: Rc<LocalExecutor<'static>>,
    ) -> Result<Rc<Self>, tls::Error> {
        let host = if options.host.contains(':') {
            format!("[{}]", options.host)
        } else {
            options.host.clone()
        };
        Ok(Rc::new(Self {
            authority: format!("{host}:{}", options.port).into(),
            tls: RefCell::new(tls::Client::new(options.files.clone())?),
            options,
            executor,
            token: RefCell::default(),
            lines: RefCell::default(),
            health: Cell::default(),
            changed: Notify::new(),
            wanted: Cell::new(false),
            bell: Notify::new(),
            meter: Rc::default(),
            connections: Cell::new(0),
            allowed: Rc::default(),
        }))
    }

    /// What is known of the server.
    pub fn health(&self) -> Health {
        self.health.get()
    }

    /// Waits until health or a connection changes.
    pub async fn changed(&self) {
        self.changed.wait().await;
    }

    /// What has crossed all connections.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// How many connections have been made.
    pub fn connections(&self) -> u32 {
        self.connections.get()
    }

    /// Keeps a connection to the server; never returns.
    pub async fn run(self: Rc<Self>) {
        let mut attempt = 0;
        loop {
            if self.usable().is_some() {
                attempt = 0;
                self.bell.wait().await;
                continue;
            }
            match self.connect_watched().await {
                Ok(line) => {
                    self.wanted.set(false);
                    self.connections.set(self.connections.get().wrapping_add(1));
                    self.lines.borrow_mut().push(Rc::clone(&line));
                    self.executor.spawn(Rc::clone(&self).keep(line)).detach();
                    self.happened(Input::Connected, "");
                    self.changed.notify();
                }
                Err(why) => {
                    self.happened(Input::Refused, &why);
                    Timer::after(BACKOFF.delay(attempt, process::random())).await;
                    attempt += 1;
                }
            }
        }
    }

    /// Makes a connection; says that the server can't be reached when that takes too long, and goes on trying.
    async fn connect_watched(&self) -> Result<Rc<Line>, String> {
        let connect = Box::pin(self.connect());
        let thresholds = self.options.thresholds;
        let patience = if self.health.get() == Health::Starting {
            thresholds.start
        } else {
            thresholds.give_up
        };
        let late = async {
            Timer::after(patience).await;
            self.happened(Input::Late, "no connection in time");
            smol::future::pending().await
        };
        connect.or(late).await
    }

    async fn connect(&self) -> Result<Rc<Line>, String> {
        let own = Rc::new(Meter::default());
        let (stream, http2) = self
            .handshake(tls::Offer::Http2, Rc::clone(&own))
            .await
            .map_err(|error| error.to_string())?;
        let thresholds = self.options.thresholds;
        Line::start(
            stream,
            http2.then(|| Rc::clone(&self.allowed)),
            Rc::clone(&self.authority),
            own,
            thresholds,
            &self.executor,
        )
        .await
        .map_err(|error| error.to_string())
    }

    /// TCP and TLS.
    fn handshake(&self, offer: tls::Offer, own: Rc<Meter>) -> Handshake<'_> {
        Box::pin(self.shake_hands(offer, own))
    }

    async fn shake_hands(
        &self,
        offer: tls::Offer,
        own: Rc<Meter>,
    ) -> std::io::Result<(tls::Stream<net::Dialled>, bool)> {
        let refreshed = self.tls.borrow_mut().refresh();
        match refreshed {
            Ok(true) => log::info!("certificate files have changed and were read again"),
            Ok(false) => {}
            Err(error) => log::warn!("certificate files have changed and can't be used: {error}"),
        }
        let connector = self.tls.borrow().connector(offer);
        let silence = self.options.thresholds.give_up * 2;
        let meters = [Rc::clone(&self.meter), own];
        let stream = net::dial(&self.options.host, self.options.port, TCP, silence, meters).await?;
        let late = async {
            Timer::after(TLS).await;
            Err(std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                "no TLS handshake in time",
            ))
        };
        connector.connect(&self.options.host, stream).or(late).await
    }

    /// One more HTTP/1.1 connection of a line.
    async fn another(&self, line: &Line) -> std::io::Result<tls::Stream<net::Dialled>> {
        self.handshake(tls::Offer::Http1, Rc::clone(line.meter()))
            .await
            .map(|(stream, _)| stream)
    }

    /// Drives a connection until it ends.
    async fn keep(self: Rc<Self>, line: Rc<Line>) {
        let end = line
            .keep(|| self.another(&line), &self.bell, &self.changed)
            .await;
        self.lines
            .borrow_mut()
            .retain(|other| !Rc::ptr_eq(other, &line));
        // Another connection may stand (this one was on its way out): then nothing is lost.
        match end {
            line::End::Silent => self.happened(Input::Silent, "silence"),
            line::End::Closed if self.usable().is_none() => {
                self.happened(Input::Lost, "connection lost")
            }
            line::End::Closed => {}
        }
        self.bell.notify();
        self.changed.notify();
    }

    fn happened(&self, input: Input, why: &str) {
        let before = self.health.get();
        let after = before.step(input);
        self.health.set(after);
        if before != after {
            match after {
                Health::Healthy => {
                    log::info!("the API server can be reached server={}", self.authority)
                }
                _ => log::warn!(
                    "the API server can't be reached: {why} server={}",
                    self.authority
                ),
            }
            self.changed.notify();
        }
    }

    /// A connection that takes new requests.
    fn usable(&self) -> Option<Rc<Line>> {
        let lines = self.lines.borrow();
        let roomy = lines.iter().find(|line| line.has_room());
        // When one is wanted beside a full one, the full one does not count.
        roomy
            .or_else(|| {
                lines
                    .iter()
                    .find(|line| !line.is_closing() && !self.wanted.get())
            })
            .cloned()
    }

    /// A connection to send on: waits for one while there is hope.
    async fn line(&self) -> Result<Rc<Line>, Error> {
        loop {
            if let Some(line) = self.lines.borrow().iter().find(|line| line.has_room()) {
                return Ok(Rc::clone(line));
            }
            let full = self
                .lines
                .borrow()
                .iter()
                .find(|line| !line.is_closing())
                .cloned();
            if full.as_ref().is_some_and(|line| !line.is_settled()) {
                // The server is about to say how many requests it takes.
                self.changed.wait().await;
                continue;
            }
            self.wanted.set(true);
            self.bell.notify();
            if self.health.get() == Health::Unhealthy {
                // A second connection can't be had; the stream limit will let the request through in its turn.
                return full.ok_or_else(|| {
                    Error::unprocessed("reach the API server", &"the line is down")
                });
            }
            self.changed.wait().await;
        }
    }

    /// One exchange. What the server has certainly not acted on is sent again once on a new connection, unseen.
    ///
    /// Boxed, as are its like below: they are large, and who waits for an answer should not carry their size around.
    pub fn send(&self, request: Request) -> Exchange<'_> {
        Box::pin(self.exchange(request))
    }

    async fn exchange(&self, mut request: Request) -> Result<Response, Error> {
        self.authorize(&mut request);
        let again = request.again();
        match self.once(request).await {
            Err(error)
                if error.side() == Side::Upstream && self.health.get() != Health::Unhealthy =>
            {
                // A lost connection leaves a request without a body in doubt; a read may be asked twice.
                let repeatable = error.fate() == Fate::Unprocessed
                    || again
                        .as_ref()
                        .is_some_and(|request| request.method.is_safe());
                match again.filter(|_| repeatable) {
                    Some(request) => {
                        log::debug!("sending again: {error}");
                        self.once(request).await
                    }
                    None => Err(error),
                }
            }
            result => result,
        }
    }

    fn once(&self, request: Request) -> Exchange<'_> {
        Box::pin(async move {
            let line = self.line().await?;
            line.send(request, || self.another(&line)).await
        })
    }

    /// One exchange that asks for another protocol, on a connection of its own.
    pub fn upgrade(&self, request: Request) -> Exchange<'_> {
        Box::pin(self.tunnel(request))
    }

    async fn tunnel(&self, mut request: Request) -> Result<Response, Error> {
        self.authorize(&mut request);
        if self.health.get() == Health::Unhealthy {
            return Err(Error::unprocessed(
                "reach the API server",
                &"the line is down",
            ));
        }
        let unreachable =
            |error: std::io::Error| Error::unprocessed("reach the API server", &error);
        let handshake = self.handshake(tls::Offer::Http1, Rc::default());
        let (stream, _) = handshake.await.map_err(unreachable)?;
        let mut connection =
            h1::Connection::start(stream, Rc::clone(&self.authority), &self.executor).await?;
        connection.send(request).await
    }

    /// The agent's token for a request that brings none.
    fn authorize(&self, request: &mut Request) {
        let Some(path) = &self.options.token_file else {
            return;
        };
        if request.headers.contains_key("authorization") {
            return;
        }
        let stamp = std::fs::metadata(path)
            .and_then(|meta| Ok((meta.modified()?, meta.len())))
            .ok();
        let mut token = self.token.borrow_mut();
        if token.as_ref().is_none_or(|token| token.stamp != stamp) {
            let read = std::fs::read_to_string(path)
                .map_err(|error| error.to_string())
                .and_then(|text| {
                    let mut value = HeaderValue::from_str(&format!("Bearer {}", text.trim()))
                        .map_err(|error| error.to_string())?;
                    value.set_sensitive(true);
                    Ok(value)
                });
            let value = match read {
                Ok(value) => Some(value),
                Err(why) => {
                    log::warn!("the token can't be read: {why} file={}", path.display());
                    // A file that is being replaced: the last token may well be good still.
                    token.take().and_then(|token| token.value)
                }
            };
            *token = Some(Token { stamp, value });
        }
        if let Some(value) = token.as_ref().and_then(|token| token.value.clone()) {
            request.headers.insert("authorization", value);
        }
    }
}
