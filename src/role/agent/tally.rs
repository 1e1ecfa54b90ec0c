//! What the agent has done since it started, in numbers for its operator.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::k8s::object::ResourceVersion;
use crate::role::agent::Agent;
use crate::role::agent::document;
use crate::role::agent::tokens;
use crate::role::agent::tokens::Count;
use crate::rule::health::Health;
use crate::state::mirror;
use crate::wire::request::Verb;

/// Kinds of requests, as they are counted.
pub const VERBS: [&str; 5] = ["list", "watch", "get", "write", "other"];
/// Who answered.
pub const ANSWERERS: [&str; 3] = ["cloud", "mirror", "nobody"];
/// Why a collection was listed by the agent itself.
pub const CAUSES: [&str; 3] = ["first", "expired", "restored"];

/// Who answered a request.
#[derive(Clone, Copy, Debug)]
pub enum By {
    /// The API server.
    Cloud,
    /// What this node holds.
    Mirror,
    /// Nobody could; the client was told so.
    Nobody,
}

/// Why the agent itself listed a collection.
#[derive(Clone, Copy, Debug)]
pub enum Cause {
    /// It was never complete.
    First,
    /// The server's history does not reach back to what is held.
    Expired,
    /// The server's versions went back.
    Restored,
}

/// The counters.
#[derive(Debug, Default)]
pub struct Tally {
    requests: [[Cell<u64>; 3]; 5],
    relists: [Cell<u64>; 3],
}

impl Tally {
    /// A request of a client was answered.
    pub fn answered(&self, verb: Verb, by: By) {
        let row = match verb {
            Verb::List => 0,
            Verb::Watch => 1,
            Verb::Get => 2,
            Verb::Create | Verb::Update | Verb::Patch | Verb::Delete | Verb::DeleteCollection => 3,
            Verb::Other => 4,
        };
        count(&self.requests[row][by as usize]);
    }

    /// The agent itself has listed a collection.
    pub fn relisted(&self, cause: Cause) {
        count(&self.relists[cause as usize]);
    }

    /// Answers to clients: by [`VERBS`], then by [`ANSWERERS`].
    pub fn requests(&self) -> [[u64; 3]; 5] {
        self.requests
            .each_ref()
            .map(|row| row.each_ref().map(Cell::get))
    }

    /// Lists of the agent's own, by [`CAUSES`].
    pub fn relists(&self) -> [u64; 3] {
        self.relists.each_ref().map(Cell::get)
    }
}

fn count(counter: &Cell<u64>) {
    counter.set(counter.get().wrapping_add(1));
}

/// The agent as its operator sees it.
#[derive(Debug)]
pub struct Report {
    /// The server that is used, or all when none is.
    pub server: String,
    /// Whether it can be reached.
    pub health: Health,
    /// How long the line has been down in all.
    pub cut: Duration,
    /// Bytes that came over the line, and that went: TCP payload, all connections.
    pub received: u64,
    /// See `received`.
    pub sent: u64,
    /// Connections made.
    pub connections: u32,
    /// See [`Tally::requests`].
    pub requests: [[u64; 3]; 5],
    /// See [`Tally::relists`].
    pub relists: [u64; 3],
    /// The mirror.
    pub mirror: mirror::Stats,
    /// Tokens that are kept.
    pub tokens: Count,
    /// Its collections, documents and tokens too.
    pub collections: Vec<Held>,
}

/// One collection that is held.
#[derive(Debug)]
pub struct Held {
    /// Its path and selectors.
    pub name: String,
    /// What it is complete at.
    pub complete: Option<ResourceVersion>,
    /// How many objects; 0 as long as nobody has asked for it since the start.
    pub objects: usize,
    /// Its file's bytes.
    pub bytes: u64,
    /// How long ago it was known to be current.
    pub age: Option<Duration>,
    /// A running watch feeds it.
    pub live: bool,
    /// Local watches on it.
    pub readers: usize,
}

impl Agent {
    /// What there is to tell at `now`, seconds since 1970.
    pub fn report(&self, now: u64) -> Report {
        let meter = self.upstream.meter();
        let collections = self.mirror.logs().into_iter().map(|log| {
            let follower = self.followers.find(log.name());
            Held {
                name: if document::is_documents(log.name()) {
                    "documents".to_owned()
                } else if tokens::is_tokens(log.name()) {
                    "tokens".to_owned()
                } else {
                    log.name().to_string()
                },
                complete: log.complete(),
                objects: log.len(),
                bytes: log.file_bytes(),
                age: super::offline::age(&log),
                live: follower.as_ref().is_some_and(|follower| follower.is_live()),
                readers: follower.map_or(0, |follower| follower.readers()),
            }
        });
        Report {
            server: self.upstream.server(),
            health: self.upstream.health(),
            cut: self.upstream.cut(),
            received: meter.received(),
            sent: meter.sent(),
            connections: self.upstream.connections(),
            requests: self.tally.requests(),
            relists: self.tally.relists(),
            mirror: self.mirror.stats(),
            tokens: self.tokens.count(now),
            collections: collections.collect(),
        }
    }

    /// The counters, for the modules beside this one.
    pub(super) fn tally(&self) -> &Rc<Tally> {
        &self.tally
    }
}
