//! A fake kube-apiserver: in memory, over TLS, HTTP/2 and HTTP/1.1 by ALPN, and as fallible as a test wants it.
//!
//! Beside the real door there is a plain one for the test's own eyes: the same answers, without credentials, not
//! recorded and never failing.

pub mod answer;
pub mod body;
pub mod form;
pub mod kind;
pub mod pki;
pub mod selector;
pub mod serve;
pub mod store;
pub mod token;
pub mod watch;
pub mod write;

use std::net::SocketAddr;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use serde_json::json;
use smol::channel::Sender;

use self::answer::Ask;
use self::kind::Kind;
use self::pki::Pki;
use self::serve::Order;
use self::store::Backup;
use self::store::Store;

/// How the server behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Protocols offered in ALPN.
    pub protocols: Vec<&'static str>,
    /// A bearer token that is accepted in place of a client certificate.
    pub token: Option<String>,
    /// How often a watch gets a bookmark.
    pub bookmark_period: Duration,
    /// Waited before each later event of a watch.
    pub watch_delay: Duration,
    /// Whether `sendInitialEvents` is understood (Kubernetes 1.34); if not, 422.
    pub watch_list: bool,
    /// Whether large lists are compressed for who takes gzip; not where the feature `APIResponseCompression` is off.
    pub gzip: bool,
    /// SETTINGS_MAX_CONCURRENT_STREAMS.
    pub max_streams: Option<u32>,
    /// Each connection says GOAWAY after so many requests.
    pub goaway_after: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            protocols: vec!["h2", "http/1.1"],
            token: None,
            bookmark_period: Duration::from_secs(60),
            watch_delay: Duration::ZERO,
            watch_list: true,
            gzip: true,
            max_streams: None,
            goaway_after: None,
        }
    }
}

/// A request that came in through the real door.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// When its head had been read.
    pub at: Instant,
    /// Method.
    pub method: String,
    /// Path and query as they came.
    pub target: String,
    /// `Accept`, or empty.
    pub accept: String,
    /// `Authorization`.
    pub authorization: Option<String>,
    /// `Accept-Encoding`, or empty.
    pub accept_encoding: String,
    /// `Content-Type`, or empty.
    pub content_type: String,
    /// The body, once it has been read.
    pub body: Vec<u8>,
    /// `User-Agent`, or empty.
    pub user_agent: String,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub protocol: String,
    /// The number of its connection, from 1.
    pub connection: u64,
    /// Its own number.
    pub number: u64,
    /// Whether it lists a collection.
    pub list: bool,
    /// Whether it watches a collection.
    pub watch: bool,
}

/// What goes wrong with an answer.
#[derive(Clone, Debug)]
pub enum Action {
    /// This status code, with the Status that goes with it.
    Status(u16),
    /// This answer in place of the real one.
    Answer {
        /// Status code.
        status: u16,
        /// Headers.
        headers: Vec<(&'static str, String)>,
        /// Body.
        body: Vec<u8>,
    },
    /// The right answer, broken off after so many bytes of its body.
    CutAfter(usize),
    /// Never answered.
    Hold,
    /// The right answer, later.
    Late(Duration),
}

/// Which requests an action is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Only {
    /// All of them.
    All,
    /// Lists.
    Lists,
    /// Watches.
    Watches,
}

struct Fault {
    part: String,
    only: Only,
    times: u32,
    action: Action,
}

/// What the server's threads share.
pub struct Shared {
    /// How it behaves.
    pub options: Options,
    state: Mutex<State>,
}

/// The changing part.
pub struct State {
    /// The objects.
    pub store: Store,
    /// Watches being answered now.
    pub watches_open: usize,
    /// Connections through the real door, ever.
    pub connections_seen: u64,
    /// A line to each of the open ones.
    pub connections: Vec<Sender<Order>>,
    recorded: Vec<Recorded>,
    requests_seen: u64,
    faults: Vec<Fault>,
}

impl Shared {
    /// The changing part, locked.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no thread panics with the lock held")
    }

    /// Records a request; its number, and what is to go wrong with it.
    fn note(&self, mut recorded: Recorded, ask: &Ask) -> (u64, Option<Action>) {
        let mut state = self.state();
        state.requests_seen += 1;
        recorded.number = state.requests_seen;
        let fault = state.faults.iter_mut().find(|fault| {
            fault.times > 0
                && recorded.target.contains(&fault.part)
                && match fault.only {
                    Only::All => true,
                    Only::Lists => ask.is_list(),
                    Only::Watches => ask.is_watch(),
                }
        });
        let action = fault.map(|fault| {
            fault.times -= 1;
            fault.action.clone()
        });
        let number = recorded.number;
        state.recorded.push(recorded);
        (number, action)
    }

    /// Records the body of an earlier request.
    fn note_body(&self, number: u64, body: &[u8]) {
        let mut state = self.state();
        let request = state
            .recorded
            .iter_mut()
            .find(|request| request.number == number);
        if let Some(request) = request {
            request.body = body.to_vec();
        }
    }
}

/// The running server; dropping it stops it and closes its connections.
pub struct ApiServer {
    shared: Arc<Shared>,
    pki: Pki,
    address: SocketAddr,
    direct: SocketAddr,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ApiServer {
    /// Starts a server on free ports of the loopback.
    pub fn start(options: Options) -> Self {
        let pki = Pki::new();
        let tls = pki.server(&options.protocols);
        let listen = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        let (secure, plain) = (listen(), listen());
        let address = secure.local_addr().expect("bound");
        let direct = plain.local_addr().expect("bound");
        let shared = Arc::new(Shared {
            options,
            state: Mutex::new(State {
                store: Store::new(),
                watches_open: 0,
                connections_seen: 0,
                connections: Vec::new(),
                recorded: Vec::new(),
                requests_seen: 0,
                faults: Vec::new(),
            }),
        });
        let (stop, stopped) = smol::channel::bounded(1);
        let inner = shared.clone();
        let thread = std::thread::spawn(move || serve::run(inner, tls, secure, plain, stopped));
        Self {
            shared,
            pki,
            address,
            direct,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// The TLS door.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The plain door for the test's own eyes.
    pub fn direct(&self) -> SocketAddr {
        self.direct
    }

    /// The certificates.
    pub fn pki(&self) -> &Pki {
        &self.pki
    }

    /// Creates or updates an object; returns its version.
    pub fn put(&self, kind: &'static Kind, object: Value) -> u64 {
        self.shared.state().store.put(kind, object)
    }

    /// Creates or updates an object from the text of a list item, sent byte for byte; `@RV@` becomes its version.
    pub fn put_text(&self, kind: &'static Kind, namespace: &str, name: &str, text: &str) -> u64 {
        self.shared
            .state()
            .store
            .put_text(kind, namespace, name, text)
    }

    /// Deletes an object; returns the version of that.
    pub fn delete(&self, kind: &'static Kind, namespace: &str, name: &str) -> Option<u64> {
        let deleted = self.shared.state().store.delete(kind, namespace, name);
        deleted.map(|(_, version)| version)
    }

    /// Applies a merge patch; returns the new version.
    pub fn patch(
        &self,
        kind: &'static Kind,
        namespace: &str,
        name: &str,
        patch: &Value,
    ) -> Option<u64> {
        self.shared
            .state()
            .store
            .patch(kind, namespace, name, patch)
    }

    /// Sets labels, or with `None` removes them.
    pub fn patch_labels(
        &self,
        kind: &'static Kind,
        namespace: &str,
        name: &str,
        labels: &[(&str, Option<&str>)],
    ) -> Option<u64> {
        let labels: serde_json::Map<String, Value> = labels
            .iter()
            .map(|(key, value)| ((*key).to_string(), json!(value)))
            .collect();
        self.patch(
            kind,
            namespace,
            name,
            &json!({"metadata": {"labels": labels}}),
        )
    }

    /// The object's text as a list item.
    pub fn item(&self, kind: &'static Kind, namespace: &str, name: &str) -> Option<String> {
        let object = self.shared.state().store.find(kind, namespace, name);
        object.map(|object| object.item())
    }

    /// When the tokens end that are given from now on: `token::LIVING` or `token::ENDED`.
    pub fn tokens_end(&self, end: (u64, &'static str)) {
        self.shared.state().store.tokens.end = end;
    }

    /// How many tokens were given.
    pub fn tokens_given(&self) -> u64 {
        self.shared.state().store.tokens.given
    }

    /// The newest version.
    pub fn version(&self) -> u64 {
        self.shared.state().store.version()
    }

    /// Moves the version on, as writes elsewhere do.
    pub fn skip_versions(&self, count: u64) {
        self.shared.state().store.skip_versions(count);
    }

    /// Forgets the history and ends the watches: one that resumes before now gets 410.
    pub fn compact(&self) {
        self.shared.state().store.compact();
    }

    /// Ends every watch cleanly, as a server does that shuts down.
    pub fn end_watches(&self) {
        self.shared.state().store.end_watches(false);
    }

    /// Ends every watch with an ERROR event of 410.
    pub fn expire_watches(&self) {
        self.shared.state().store.end_watches(true);
    }

    /// A copy of everything, to go back to.
    pub fn backup(&self) -> Backup {
        self.shared.state().store.backup()
    }

    /// Goes back to a copy, versions and all.
    pub fn restore(&self, backup: &Backup) {
        self.shared.state().store.restore(backup);
    }

    /// Makes the next `times` requests whose target contains `part` go wrong.
    pub fn fail(&self, part: &str, only: Only, times: u32, action: Action) {
        self.shared.state().faults.push(Fault {
            part: part.into(),
            only,
            times,
            action,
        });
    }

    /// Takes back every fault that has not happened yet.
    pub fn heal(&self) {
        self.shared.state().faults.clear();
    }

    /// Sends GOAWAY on every connection.
    pub fn goaway(&self) {
        self.order(Order::Leave);
    }

    /// Closes every connection at once.
    pub fn disconnect(&self) {
        self.order(Order::Die);
    }

    fn order(&self, order: Order) {
        for connection in &self.shared.state().connections {
            // A connection that is gone needs no order.
            let _ = connection.try_send(order);
        }
    }

    /// Every request through the real door since the last `forget_requests`.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.state().recorded.clone()
    }

    /// Starts the record anew.
    pub fn forget_requests(&self) {
        self.shared.state().recorded.clear();
    }

    /// Recorded lists.
    pub fn lists(&self) -> usize {
        let state = self.shared.state();
        state.recorded.iter().filter(|request| request.list).count()
    }

    /// Recorded watches.
    pub fn watches(&self) -> usize {
        let state = self.shared.state();
        state
            .recorded
            .iter()
            .filter(|request| request.watch)
            .count()
    }

    /// Watches being answered now, through both doors.
    pub fn watches_open(&self) -> usize {
        self.shared.state().watches_open
    }

    /// Connections through the real door, ever.
    pub fn connections(&self) -> u64 {
        self.shared.state().connections_seen
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A panic of the server's thread was printed when it happened.
            let _ = thread.join();
        }
    }
}
