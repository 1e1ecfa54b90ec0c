//! The API servers: the connection to one of them, whether any can be reached, and one exchange with it.
//!
//! One task connects, and connects again when a connection has gone, at once after a loss and with jittered pauses after a
//! refusal. Health comes from what happens to connections and from what crosses them (`rule::health`). Who waits for an
//! answer when the line is given up is told so at once.

mod connect;
pub mod line;
mod server;
mod token;

use std::cell::Cell;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;
use std::time::Instant;

use smol::LocalExecutor;
use smol::Timer;

use crate::io::http::Error;
use crate::io::http::Fate;
use crate::io::http::Request;
use crate::io::http::Response;
use crate::io::http::Side;
use crate::io::http::h1;
use crate::io::latest::Notify;
use crate::io::net::Meter;
use crate::io::process;
use crate::io::tls;
use crate::rule::backoff::Backoff;
use crate::rule::health::Health;
use crate::rule::health::Input;
use crate::rule::health::Thresholds;
use crate::state::upstream::line::Line;
use crate::state::upstream::server::Servers;
use crate::state::upstream::token::Bearer;

pub use crate::state::upstream::server::Address;
pub use crate::state::upstream::server::Balance;
pub use crate::state::upstream::token::Token;

/// The pace of reconnecting: a node must be back within seconds of its line.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(500),
    cap: Duration::from_secs(5),
};
/// Which servers, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The servers; one at least.
    pub servers: Vec<Address>,
    /// Which of them is used.
    pub balance: Balance,
    /// Whom to trust and who we are.
    pub files: tls::Files,
    /// A bearer token, sent with requests that bring no `Authorization`.
    pub token: Option<Token>,
    /// How much silence means what.
    pub thresholds: Thresholds,
}

/// An exchange that is under way.
pub type Exchange<'a> = Pin<Box<dyn Future<Output = Result<Response, Error>> + 'a>>;

/// The API servers of one cluster, of which one is used at a time.
pub struct Upstream {
    thresholds: Thresholds,
    servers: RefCell<Servers>,
    executor: Rc<LocalExecutor<'static>>,
    tls: RefCell<tls::Client>,
    bearer: RefCell<Bearer>,
    lines: RefCell<Vec<Rc<Line>>>,
    health: Cell<Health>,
    changed: Notify,
    /// Somebody wants a connection that is not there.
    wanted: Cell<bool>,
    bell: Notify,
    meter: Rc<Meter>,
    connections: Cell<u32>,
    /// Since when the line is down, and how long it was before.
    cut_since: Cell<Option<Instant>>,
    cut_before: Cell<Duration>,
}

impl Upstream {
    /// An upstream that is not connected yet. An error names the file that can't be used.
    pub fn new(
        options: Options,
        executor: Rc<LocalExecutor<'static>>,
    ) -> Result<Rc<Self>, tls::Error> {
        let servers = Servers::new(&options.servers, options.balance, process::random());
        Ok(Rc::new(Self {
            thresholds: options.thresholds,
            servers: RefCell::new(servers),
            tls: RefCell::new(tls::Client::new(options.files)?),
            executor,
            bearer: RefCell::new(Bearer::new(options.token)),
            lines: RefCell::default(),
            health: Cell::default(),
            changed: Notify::new(),
            wanted: Cell::new(false),
            bell: Notify::new(),
            meter: Rc::default(),
            connections: Cell::new(0),
            cut_since: Cell::new(None),
            cut_before: Cell::default(),
        }))
    }

    /// Other servers, files or tokens, for the connections and requests to come. Connections to servers that are not among
    /// them any more take no new requests. On an error all stays as it was.
    pub fn change(&self, options: Options) -> Result<(), tls::Error> {
        let client = tls::Client::new(options.files)?;
        self.tls.replace(client);
        self.bearer.replace(Bearer::new(options.token));
        let same = self.servers.borrow().are(&options.servers, options.balance);
        if !same {
            let servers = Servers::new(&options.servers, options.balance, process::random());
            self.servers.replace(servers);
            for line in self.lines.borrow().iter() {
                line.retire();
            }
            self.bell.notify();
        }
        Ok(())
    }

    /// The server that is used, as requests name it, or all of them.
    pub fn server(&self) -> String {
        match self.usable() {
            Some(line) => line.server().authority.to_string(),
            None => self.servers.borrow().names(),
        }
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

    /// How long no server could be reached, in all.
    pub fn cut(&self) -> Duration {
        let now = self.cut_since.get().map(|since| since.elapsed());
        self.cut_before.get() + now.unwrap_or_default()
    }

    /// Keeps a connection to the server; never returns.
    pub async fn run(self: Rc<Self>) {
        let mut attempt = 0;
        loop {
            if let Some(line) = self.usable() {
                attempt = 0;
                self.rest(line).await;
                continue;
            }
            match self.connect_watched().await {
                Ok(line) => {
                    self.wanted.set(false);
                    self.take(line);
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

    /// A connection that can be used from now on.
    fn take(self: &Rc<Self>, line: Rc<Line>) {
        self.connections.set(self.connections.get().wrapping_add(1));
        self.lines.borrow_mut().push(Rc::clone(&line));
        self.executor.spawn(Rc::clone(self).keep(line)).detach();
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
            if after == Health::Unhealthy {
                self.cut_since.set(Some(Instant::now()));
            } else {
                self.cut_before.set(self.cut());
                self.cut_since.set(None);
            }
            match after {
                Health::Healthy => {
                    log::info!("the API server can be reached server={}", self.server())
                }
                _ => log::warn!(
                    "the API server can't be reached: {why} server={}",
                    self.servers.borrow().names()
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

    /// Waits until nothing has come from any server for as long as a client bears that waits `timeout` for its answer; for
    /// ever if something came meanwhile, or if the line is given up before that.
    pub async fn unheard(&self, timeout: Option<Duration>) {
        let patience = timeout.and_then(|timeout| self.thresholds.patience(timeout));
        if let Some(patience) = patience {
            let asked = Instant::now();
            Timer::after(patience).await;
            if self.meter.heard() <= asked {
                return;
            }
        }
        smol::future::pending().await
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
        let server = Rc::clone(self.line().await?.server());
        let handshake = self.handshake(&server, tls::Offer::Http1, Rc::default());
        let (stream, _) = handshake.await.map_err(unreachable)?;
        let authority = Rc::clone(&server.authority);
        let mut connection = h1::Connection::start(stream, authority, &self.executor).await?;
        connection.send(request).await
    }

    /// The agent's token for a request that brings none.
    fn authorize(&self, request: &mut Request) {
        if request.headers.contains_key("authorization") {
            return;
        }
        if let Some(value) = self.bearer.borrow().value() {
            request.headers.insert("authorization", value);
        }
    }
}
