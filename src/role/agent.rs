//! The agent: this node's Kubernetes endpoint.
//!
//! One request: it is read ([`asked`]), routed (`rule::route`), and answered by the cloud ([`forward`], [`list`],
//! [`get`], [`document`], [`token`], [`write`](mod@write)), from the mirror ([`offline`]), or from a place in a collection's log ([`watch`]), which [`follow`] keeps fed ([`feed`])
//! from the one upstream watch. What is shown of endpoints while cut off is [`live`]'s. When the line goes while a request waits, it is routed again without the cloud.

pub mod asked;
pub mod document;
pub mod feed;
pub mod follow;
pub mod forward;
pub mod get;
pub mod held;
pub mod list;
pub mod live;
pub mod offline;
pub mod passed;
pub mod reply;
pub mod tally;
pub mod token;
pub mod tokens;
pub mod view;
pub mod watch;
pub mod whole;
pub mod write;

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use smol::LocalExecutor;

use crate::io::boot::Boot;
use crate::io::http::Request;
use crate::io::http::Response;
use crate::io::latest::Notify;
use crate::k8s::collection::Collection;
use crate::k8s::object::ResourceVersion;
use crate::k8s::status::Status;
use crate::role::agent::asked::Asked;
use crate::role::agent::follow::Followers;
use crate::role::agent::held::Held;
use crate::role::agent::live::Live;
use crate::role::agent::tally::By;
use crate::role::agent::tally::Tally;
use crate::role::agent::tokens::Tokens;
use crate::rule::filter::Chain;
use crate::rule::health::Health;
use crate::rule::route::Route;
use crate::rule::route::route;
use crate::state::mirror::Mirror;
use crate::state::upstream::Upstream;
use crate::wire::request::Verb;

/// How much of a body is read that nobody wants, and how long: a client that is still sending when it is refused might lose
/// the answer.
const UNREAD: usize = 1 << 20;
const UNREAD_TIME: Duration = Duration::from_secs(2);

/// How the agent behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long what is not urgent may wait for its sync to flash.
    pub sync_window: Duration,
    /// How long a mirrored collection that nobody reads keeps its upstream watch. Clients re-open theirs every 5 to 10
    /// minutes (client-go), so a reader's pause between two of them must not end it.
    pub linger: Duration,
    /// How long a watch whose collection is known waits for the cloud before it is served what is known.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sync_window: Duration::from_secs(30),
            linger: Duration::from_secs(15 * 60),
            patience: Duration::from_millis(4500),
        }
    }
}

/// The agent's parts, shared by all requests.
pub struct Agent {
    upstream: Rc<Upstream>,
    mirror: Rc<Mirror>,
    followers: Followers,
    tokens: Rc<Tokens>,
    held: Rc<Held>,
    live: Rc<Live>,
    chain: Rc<Chain>,
    options: Options,
    draining: Cell<bool>,
    drained: Notify,
    tally: Rc<Tally>,
}

impl Agent {
    /// An agent over `upstream` and `mirror`, on the `node` of that name in this `boot`; what runs beside requests is spawned on `executor`.
    pub fn new(
        upstream: Rc<Upstream>,
        mirror: Rc<Mirror>,
        chain: Chain,
        options: Options,
        (node, boot): (String, Boot),
        executor: Rc<LocalExecutor<'static>>,
    ) -> Rc<Self> {
        let tally = Rc::<Tally>::default();
        let tokens = Tokens::open(Rc::clone(&mirror));
        {
            let tokens = Rc::clone(&tokens);
            executor.spawn(async move { tokens.tend().await }).detach();
        }
        let held = Rc::<Held>::default();
        {
            let (held, upstream) = (Rc::clone(&held), Rc::clone(&upstream));
            executor
                .spawn(async move { held.send(&upstream).await })
                .detach();
        }
        let live = Live::new(node, boot, Rc::clone(&upstream), Rc::clone(&mirror));
        {
            let live = Rc::clone(&live);
            executor.spawn(async move { live.tend().await }).detach();
        }
        let followers = Followers::new(
            Rc::clone(&tally),
            Rc::clone(&upstream),
            Rc::clone(&mirror),
            options.clone(),
            executor,
        );
        Rc::new(Self {
            upstream,
            mirror,
            followers,
            tokens,
            held,
            live,
            chain: Rc::new(chain),
            options,
            draining: Cell::new(false),
            drained: Notify::new(),
            tally,
        })
    }

    /// Answers one request.
    pub async fn answer(self: Rc<Self>, mut request: Request) -> Response {
        let mut asked = match Asked::new(&request) {
            Ok(asked) => asked,
            Err(status) => return reply::status(Asked::status_of(&request), &status),
        };
        let cloud = self.upstream.health() != Health::Unhealthy;
        asked.prefer(|asked, collection| self.rank(asked, collection));
        let way = route(self.facts(&asked, cloud));
        log::debug!("{} {} route={way:?}", request.method, request.target);
        // Behind a pointer, so that the code of what few ask for is no part of what each request runs.
        let answer: Pin<Box<dyn Future<Output = Response> + '_>> = match way {
            Route::Document => Box::pin(document::document(&self, &asked, request)),
            Route::Token => Box::pin(token::token(&self, &asked, request)),
            Route::Write => Box::pin(write::write(&self, &asked, asked.write(), request)),
            Route::Cloud => Box::pin(forward::forward(&self, &asked, request)),
            Route::Tunnel => Box::pin(forward::tunnel(&self, &asked, request)),
            Route::Mirrored if asked.verb() == Verb::Get => {
                Box::pin(get::get(&self, &asked, request))
            }
            Route::Mirrored => Box::pin(list::list(&self, &asked, request)),
            Route::Watch => Box::pin(watch::watch(&self, &asked, request)),
            Route::Mirror | Route::Refuse | Route::NotAcceptable => {
                request.body.discard(UNREAD, UNREAD_TIME).await;
                return self.offline(&asked, way);
            }
        };
        answer.await
    }

    /// How well a collection in one encoding serves a request: whether its log reaches the version that a watch goes on from,
    /// whether it is fed at the moment, how far it has come if the line may be down, and whether somebody reads it. Who was
    /// told of a version from one log must not be told by the other, which has not come so far, that it has expired, or of
    /// an earlier state.
    fn rank(
        &self,
        asked: &Asked,
        collection: &Collection,
    ) -> (bool, bool, Option<ResourceVersion>, bool) {
        let up = self.upstream.health() == Health::Healthy;
        let log = self.mirror.find(collection);
        let log = log.filter(|log| log.complete().is_some());
        let reached = log.as_ref().is_some_and(|log| {
            asked.watched_from().is_some_and(|version| {
                log.oldest() <= version && (up || log.ahead().is_some_and(|ahead| version <= ahead))
            })
        });
        let told = log.filter(|_| !up).and_then(|log| log.told());
        let follower = self.followers.find(collection);
        let live = follower.as_ref().is_some_and(|follower| follower.is_live());
        let read = follower.is_some_and(|follower| follower.log().complete().is_some());
        (reached, live, told, read)
    }

    /// Answers without the cloud, because the line is down or has gone while the request waited.
    fn cut_off(&self, asked: &Asked) -> Response {
        self.offline(asked, route(self.facts(asked, false)))
    }

    fn offline(&self, asked: &Asked, way: Route) -> Response {
        let answer = match way {
            Route::Mirror => offline::answer(self, asked),
            // Cut off this endpoint still does what it is there for.
            Route::Refuse if asked.is_health() => Ok(reply::healthy()),
            Route::NotAcceptable => Err(Status::not_acceptable(
                "only the following media types are accepted: application/json, application/vnd.kubernetes.protobuf (the line to the API server is down)",
            )),
            Route::Cloud
            | Route::Tunnel
            | Route::Mirrored
            | Route::Watch
            | Route::Document
            | Route::Token
            | Route::Write
            | Route::Refuse => Err(offline::refused(asked)),
        };
        self.answer_here(asked, answer)
    }

    /// Gives the answer that this node has without the cloud, or says why there is none, and counts it.
    fn answer_here(&self, asked: &Asked, answer: Result<Response, Status>) -> Response {
        let by = if answer.is_ok() {
            By::Mirror
        } else {
            By::Nobody
        };
        self.tally.answered(asked.verb(), by);
        answer.unwrap_or_else(|status| reply::status(asked.status(), &status))
    }

    fn facts(&self, asked: &Asked, cloud: bool) -> crate::rule::route::Facts {
        let follower = asked
            .mirrored()
            .and_then(|collection| self.followers.find(collection));
        let live = follower.as_ref().is_some_and(|follower| follower.is_live());
        let passed = follower.is_some_and(|follower| asked.passed_by(follower.log().complete()));
        asked.facts(cloud, live, passed)
    }

    /// Ends all local watches, cleanly and with a bookmark, so that clients come back to where they were.
    pub fn drain(&self) {
        self.draining.set(true);
        self.drained.notify();
    }

    /// Whether the agent can answer: the line is up, or the mirror holds something.
    pub fn is_ready(&self) -> bool {
        self.upstream.health() == Health::Healthy || self.mirror.stats().collections > 0
    }
}
