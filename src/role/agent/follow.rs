//! The one upstream watch of a collection, and who reads what it brings.
//!
//! A follower fills its collection's log with a list when it was never complete, or when the server's history no longer
//! reaches back to it (410), and then watches from the version that the log is complete at. It waits for the line, comes
//! back by itself, and ends when nobody has read for a while. Readers never notice any of it.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;
use std::time::Instant;

use smol::LocalExecutor;
use smol::Timer;
use smol::future::FutureExt;

use crate::io::http::HeaderMap;
use crate::io::http::Response;
use crate::io::http::StatusCode;
use crate::io::latest::Notify;
use crate::io::process;
use crate::k8s::collection::Collection;
use crate::k8s::object::ObjectKey;
use crate::role::agent::Options;
use crate::role::agent::feed::Answer;
use crate::role::agent::feed::End;
use crate::role::agent::feed::Feed;
use crate::role::agent::feed::Pace;
use crate::role::agent::tally::Tally;
use crate::rule::backoff::Backoff;
use crate::rule::health::Health;
use crate::rule::retention;
use crate::state::mirror;
use crate::state::mirror::Log;
use crate::state::mirror::Mirror;
use crate::state::upstream::Upstream;

/// Retries while the line is up.
pub(super) const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(500),
    cap: Duration::from_secs(30),
};
/// How long nothing is mirrored after the flash failed.
const FLASH_REST: Duration = Duration::from_secs(60);
/// How long a collection is not mirrored that found no room on flash, or that had to leave for another.
const ROOM_REST: Duration = Duration::from_secs(600);

/// All followers of the node.
pub struct Followers {
    shared: Rc<Shared>,
}

struct Shared {
    tally: Rc<Tally>,
    upstream: Rc<Upstream>,
    mirror: Rc<Mirror>,
    options: Options,
    executor: Rc<LocalExecutor<'static>>,
    followers: RefCell<HashMap<Collection, Rc<Follower>>>,
    pace: Pace,
    flash_failed: Cell<Option<Instant>>,
    homeless: RefCell<HashMap<Collection, Instant>>,
}

/// One collection's follower.
pub struct Follower {
    log: Rc<Log>,
    identity: RefCell<HeaderMap>,
    readers: Cell<usize>,
    left: Cell<Instant>,
    state: RefCell<State>,
    changed: Notify,
    /// Somebody has seen that the log is of another history than the server's.
    outdated: Cell<bool>,
}

/// What a follower is.
enum State {
    /// On its way: waiting for the line, filling, opening.
    Seeking,
    /// Fed by a running watch.
    Live,
    /// The cloud said no.
    Refused(Answer),
    /// The flash said no: this collection is not mirrored for now.
    Unmirrored,
}

/// Somebody who reads a collection's log; its upstream watch runs while there are any.
pub struct Reader {
    follower: Rc<Follower>,
}

/// What a reader waited for.
pub enum Ready {
    /// The log answers.
    Complete,
    /// The cloud refused; this is its answer.
    Refused(Response),
    /// The line is down and the collection was never complete.
    Unknown,
    /// The flash refuses; the cloud must be asked directly.
    Unmirrored,
}

impl Followers {
    /// No followers yet; they will be spawned on `executor`.
    pub fn new(
        tally: Rc<Tally>,
        upstream: Rc<Upstream>,
        mirror: Rc<Mirror>,
        options: Options,
        executor: Rc<LocalExecutor<'static>>,
    ) -> Self {
        Self {
            shared: Rc::new(Shared {
                tally,
                upstream,
                mirror,
                options,
                executor,
                followers: RefCell::default(),
                pace: Pace::default(),
                flash_failed: Cell::new(None),
                homeless: RefCell::default(),
            }),
        }
    }

    /// The follower of a collection, if there is one.
    pub fn find(&self, collection: &Collection) -> Option<Rc<Follower>> {
        self.shared.followers.borrow().get(collection).cloned()
    }

    /// Whether a running watch of the same reader brings the object.
    pub fn hold(&self, collection: &Collection, key: &ObjectKey) -> bool {
        self.shared
            .followers
            .borrow()
            .iter()
            .any(|(name, follower)| {
                name.resource == collection.resource
                    && name.credential == collection.credential
                    && name.encoding == collection.encoding
                    && follower.is_live()
                    && follower.log.version_of(key.as_str()).is_some()
            })
    }

    /// Whether the collection is not mirrored for now.
    pub fn rests(&self, collection: &Collection) -> bool {
        let failed = self.shared.flash_failed.get();
        let mut homeless = self.shared.homeless.borrow_mut();
        homeless.retain(|_, since| since.elapsed() < ROOM_REST);
        failed.is_some_and(|failed| failed.elapsed() < FLASH_REST)
            || homeless.contains_key(collection)
    }

    /// The mirror has refused what belongs to the collection.
    pub fn rest(&self, collection: &Collection, error: &mirror::Error) {
        self.shared.rest(collection, error);
    }

    /// Becomes a reader of the collection, on behalf of who `identity` says. An error when the flash fails.
    pub fn attach(
        &self,
        collection: &Collection,
        identity: &HeaderMap,
    ) -> Result<Reader, mirror::Error> {
        let shared = &self.shared;
        if let Some(follower) = self.find(collection) {
            follower.identity.replace(identity.clone());
            return Ok(Reader::new(follower));
        }
        let window = retention::sync_window(&collection.resource, shared.options.sync_window);
        let follower = Rc::new(Follower {
            log: shared.mirror.ensure(collection, window)?,
            identity: RefCell::new(identity.clone()),
            readers: Cell::new(0),
            left: Cell::new(Instant::now()),
            state: RefCell::new(State::Seeking),
            changed: Notify::new(),
            outdated: Cell::new(false),
        });
        if self.rests(collection) {
            follower.state.replace(State::Unmirrored);
            return Ok(Reader::new(follower));
        }
        shared
            .followers
            .borrow_mut()
            .insert(collection.clone(), Rc::clone(&follower));
        let reader = Reader::new(Rc::clone(&follower));
        shared
            .executor
            .spawn(Rc::clone(shared).follow(collection.clone(), follower))
            .detach();
        Ok(reader)
    }
}

impl Follower {
    /// The collection's log.
    pub fn log(&self) -> &Rc<Log> {
        &self.log
    }

    /// How many read it.
    pub fn readers(&self) -> usize {
        self.readers.get()
    }

    /// Whether a running watch feeds the log.
    pub fn is_live(&self) -> bool {
        matches!(*self.state.borrow(), State::Live)
    }

    fn become_(&self, state: State) {
        self.state.replace(state);
        self.changed.notify();
    }

    /// Tells that the server has answered a list at a version before the log's: its versions went back, which a watch that
    /// hangs at a version of the future would never say.
    pub fn outdated(&self) {
        self.outdated.set(true);
        self.changed.notify();
    }

    async fn overtaken(&self) -> End {
        while !self.outdated.replace(false) {
            self.changed.wait().await;
        }
        End::Expired
    }

    /// Returns when nobody has read for `linger`.
    async fn deserted(&self, linger: Duration) {
        loop {
            if self.readers.get() > 0 {
                self.changed.wait().await;
                continue;
            }
            let over = self.left.get() + linger;
            if Instant::now() >= over {
                return;
            }
            let timer = async {
                Timer::at(over).await;
            };
            timer.or(self.changed.wait()).await;
        }
    }
}

impl Reader {
    fn new(follower: Rc<Follower>) -> Self {
        follower.readers.set(follower.readers.get() + 1);
        follower.changed.notify();
        Self { follower }
    }

    /// The collection's log.
    pub fn log(&self) -> &Rc<Log> {
        &self.follower.log
    }

    /// Waits until the log answers. `fresh`: what the server has now is wanted, not only what follows a version; then a
    /// log that is not fed at the moment is waited for, `patience` at the most and only while the line is up.
    pub async fn ready(&self, upstream: &Upstream, fresh: bool, patience: Duration) -> Ready {
        let follower = &self.follower;
        let deadline = Instant::now() + patience;
        loop {
            let complete = follower.log.complete().is_some();
            let cut_off = upstream.health() == Health::Unhealthy;
            match &*follower.state.borrow() {
                State::Unmirrored => return Ready::Unmirrored,
                State::Live if complete => return Ready::Complete,
                State::Refused(answer) if !complete || answer.status.is_client_error() => {
                    return Ready::Refused(answer.response());
                }
                State::Live | State::Seeking | State::Refused(_) => {}
            }
            if complete && (!fresh || cut_off || Instant::now() >= deadline) {
                return Ready::Complete;
            }
            if !complete && cut_off {
                return Ready::Unknown;
            }
            let timer = async {
                if complete {
                    Timer::at(deadline).await;
                } else {
                    smol::future::pending::<()>().await;
                }
            };
            follower
                .changed
                .wait()
                .or(upstream.changed())
                .or(timer)
                .await;
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.follower.readers.set(self.follower.readers.get() - 1);
        self.follower.left.set(Instant::now());
        self.follower.changed.notify();
    }
}

impl Shared {
    fn rest(&self, collection: &Collection, error: &mirror::Error) {
        match error {
            mirror::Error::Io(_) | mirror::Error::ReadOnly => {
                self.flash_failed.set(Some(Instant::now()));
            }
            mirror::Error::Full | mirror::Error::Gone | mirror::Error::TooLong => {
                let mut homeless = self.homeless.borrow_mut();
                homeless.insert(collection.clone(), Instant::now());
            }
            // What is wrong with it goes with it: it may be listed anew at once.
            mirror::Error::Damaged { .. }
            | mirror::Error::Incomplete
            | mirror::Error::OutOfTurn
            | mirror::Error::Behind { .. } => {}
        }
    }

    async fn follow(self: Rc<Self>, collection: Collection, follower: Rc<Follower>) {
        let linger = self.options.linger;
        self.drive(&collection, &follower)
            .or(follower.deserted(linger))
            .await;
        self.followers.borrow_mut().remove(&collection);
        log::debug!("{collection} is not followed any more");
    }

    /// Attempt after attempt, until the flash fails or the future is dropped.
    async fn drive(&self, collection: &Collection, follower: &Follower) {
        let mut attempt = 0;
        let mut relist = false;
        loop {
            while self.upstream.health() != Health::Healthy {
                self.upstream.changed().await;
            }
            let feed = Feed {
                upstream: &self.upstream,
                collection,
                log: &follower.log,
                identity: follower.identity.borrow().clone(),
                live: &|| follower.become_(State::Live),
                listed: &|cause| self.tally.relisted(cause),
            };
            let end = feed
                .run(&self.pace, &mut relist)
                .or(follower.overtaken())
                .await;
            relist |= matches!(end, End::Expired);
            let mut pause = BACKOFF.delay(attempt, process::random());
            attempt += 1;
            match end {
                End::Over { short } => {
                    follower.become_(State::Seeking);
                    if !short {
                        attempt = 0;
                        continue;
                    }
                }
                End::Lost => {
                    follower.become_(State::Seeking);
                    // The line decides when it is back; its pace is the upstream's.
                    if self.upstream.health() != Health::Healthy {
                        attempt = 0;
                        continue;
                    }
                }
                End::Expired => {
                    log::info!(
                        "{collection}: the server's history does not reach back; listing again"
                    );
                    follower.become_(State::Seeking);
                    if attempt <= 1 {
                        continue;
                    }
                }
                End::Refused(answer) if answer.status == StatusCode::NOT_FOUND => {
                    // The resource itself is gone (a CRD was removed): so is what is known of it.
                    log::warn!("{collection}: the API server does not know this resource any more");
                    self.mirror.forget(collection);
                    follower.become_(State::Refused(answer));
                    return;
                }
                End::Refused(answer) => {
                    log::warn!(
                        "{collection}: the API server refuses status={}",
                        answer.status.as_u16()
                    );
                    pause = answer.pause(pause);
                    follower.become_(State::Refused(answer));
                }
                End::Broken(error) => {
                    log::warn!("{collection}: what the API server sent can't be read: {error}");
                    follower.become_(State::Seeking);
                }
                End::Flash(error) => {
                    log::error!("{collection} is not mirrored: {error}");
                    self.rest(collection, &error);
                    follower.become_(State::Unmirrored);
                    return;
                }
            }
            let line = self.upstream.changed();
            let timer = async {
                Timer::after(pause).await;
            };
            timer.or(line).await;
        }
    }
}
