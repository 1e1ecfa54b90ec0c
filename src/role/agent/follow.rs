//! The one upstream watch of a collection, and who reads what it brings.
//!
//! A follower fills its collection's log with a list when it was never complete, or when the server's history no longer
//! reaches back to it (410), and then watches from the version that the log is complete at. It waits for the line, comes
//! back by itself, and ends when nobody has read for a while. Readers never notice any of it.
//!
//! Upstream it is a list and a watch, even for clients that ask for both in one stream (WatchList): a list comes gzipped,
//! a watch stream does not before Kubernetes 1.37, and on the line that is 15 times the bytes.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;
use std::time::Instant;

use smol::LocalExecutor;
use smol::Timer;
use smol::future::FutureExt;
use smol::lock::Semaphore;

use crate::io::gzip::Gunzip;
use crate::io::http::Body;
use crate::io::http::HeaderMap;
use crate::io::http::HeaderValue;
use crate::io::http::Response;
use crate::io::http::StatusCode;
use crate::io::latest::Notify;
use crate::io::process;
use crate::k8s::collection::Collection;
use crate::k8s::object::ObjectKey;
use crate::role::agent::Options;
use crate::role::agent::forward;
use crate::role::agent::reply;
use crate::rule::backoff::Backoff;
use crate::rule::health::Health;
use crate::rule::retention;
use crate::state::mirror;
use crate::state::mirror::Log;
use crate::state::mirror::Mirror;
use crate::state::mirror::TypeMeta;
use crate::state::mirror::Writer;
use crate::state::upstream::Upstream;
use crate::wire::list::ListDecoder;
use crate::wire::list::OBJECT_LIMIT;
use crate::wire::list::Part;
use crate::wire::object;
use crate::wire::watch::Event;
use crate::wire::watch::EventType;
use crate::wire::watch::WatchDecoder;

/// How many collections are opened upstream at once: a burst of a thousand makes the API server's fairness answer 429.
const OPENING: usize = 16;
/// How long a watch must be quiet after its answer's head to be taken for up to date, and how long it has at the most.
/// The server sends what it has right behind the head.
const SETTLED: Duration = Duration::from_millis(100);
const SETTLES_WITHIN: Duration = Duration::from_secs(1);
/// A watch that ends sooner, with nothing in it, is not opened again at once.
const SHORT: Duration = Duration::from_secs(1);
/// Retries while the line is up.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(500),
    cap: Duration::from_secs(30),
};
/// How long nothing is mirrored after the flash failed.
const FLASH_REST: Duration = Duration::from_secs(60);
/// The largest error answer that is kept for readers.
const ANSWER_LIMIT: usize = 64 << 10;

/// All followers of the node.
pub struct Followers {
    shared: Rc<Shared>,
}

struct Shared {
    upstream: Rc<Upstream>,
    mirror: Rc<Mirror>,
    options: Options,
    executor: Rc<LocalExecutor<'static>>,
    followers: RefCell<HashMap<Collection, Rc<Follower>>>,
    opening: Semaphore,
    flash_failed: Cell<Option<Instant>>,
}

/// One collection's follower.
pub struct Follower {
    log: Rc<Log>,
    identity: RefCell<HeaderMap>,
    readers: Cell<usize>,
    left: Cell<Instant>,
    state: RefCell<State>,
    changed: Notify,
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

/// An error answer of the cloud, kept for those who wait for the same.
#[derive(Clone)]
struct Answer {
    status: StatusCode,
    content_type: Option<HeaderValue>,
    retry_after: Option<HeaderValue>,
    body: Vec<u8>,
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
        upstream: Rc<Upstream>,
        mirror: Rc<Mirror>,
        options: Options,
        executor: Rc<LocalExecutor<'static>>,
    ) -> Self {
        Self {
            shared: Rc::new(Shared {
                upstream,
                mirror,
                options,
                executor,
                followers: RefCell::default(),
                opening: Semaphore::new(OPENING),
                flash_failed: Cell::new(None),
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
                    && follower.is_live()
                    && follower.log.version_of(key.as_str()).is_some()
            })
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
        });
        if shared
            .flash_failed
            .get()
            .is_some_and(|failed| failed.elapsed() < FLASH_REST)
        {
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

    /// Whether a running watch feeds the log.
    pub fn is_live(&self) -> bool {
        matches!(*self.state.borrow(), State::Live)
    }

    fn become_(&self, state: State) {
        self.state.replace(state);
        self.changed.notify();
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

/// How one attempt ended.
enum End {
    /// The server ended the watch; true when it was too short and empty to be opened again at once.
    Over { short: bool },
    /// The line went.
    Lost,
    /// The server's history does not reach back to the log.
    Expired,
    /// The server answered something else.
    Refused(Answer),
    /// What came can't be read.
    Broken(crate::wire::json::Error),
    /// The flash failed.
    Flash(mirror::Error),
}

impl From<mirror::Error> for End {
    fn from(error: mirror::Error) -> Self {
        Self::Flash(error)
    }
}

impl From<crate::wire::json::Error> for End {
    fn from(error: crate::wire::json::Error) -> Self {
        Self::Broken(error)
    }
}

impl Shared {
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
            let end = self.attempt(collection, follower, &mut relist).await;
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
                    self.flash_failed.set(Some(Instant::now()));
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

    /// A list if one is needed, then a watch until it ends.
    async fn attempt(
        &self,
        collection: &Collection,
        follower: &Follower,
        relist: &mut bool,
    ) -> End {
        // The writer first: a client's list that is just filling the log saves ours.
        let mut writer = follower.log.writer_wait().await;
        let permit = self.opening.acquire().await;
        if *relist || follower.log.complete().is_none() {
            if let Err(end) = self.fill(collection, follower, &mut writer).await {
                return end;
            }
            *relist = false;
        }
        let Some(version) = follower.log.ahead() else {
            return End::Expired;
        };
        let target = format!(
            "{}?allowWatchBookmarks=true{}&resourceVersion={version}&watch=true",
            collection.path(),
            selectors(collection)
        );
        let request = forward::own_request(target, &follower.identity.borrow());
        let mut body = match self.ask(request).await {
            Ok(response) => response.body,
            Err(end) => return end,
        };
        drop(permit);
        watch(follower, &mut writer, &mut body).await
    }

    /// Lists the collection into the log.
    async fn fill(
        &self,
        collection: &Collection,
        follower: &Follower,
        writer: &mut Writer,
    ) -> Result<(), End> {
        let query = selectors(collection);
        let target = match query.strip_prefix('&') {
            Some(query) => format!("{}?{query}", collection.path()),
            None => collection.path(),
        };
        let mut request = forward::own_request(target, &follower.identity.borrow());
        request
            .headers
            .insert("accept-encoding", HeaderValue::from_static("gzip"));
        let mut response = self.ask(request).await?;
        let mut gunzip = response
            .headers
            .contains_key("content-encoding")
            .then(Gunzip::new);
        let mut decoder = ListDecoder::new(OBJECT_LIMIT);
        let mut plain = Vec::new();
        writer.begin(None)?;
        while let Some(chunk) = response.body.next().await {
            let chunk = chunk.map_err(|_| End::Lost)?;
            match &mut gunzip {
                None => take_items(&mut decoder, &chunk, writer).await?,
                Some(gunzip) => {
                    let mut rest = &chunk[..];
                    while !rest.is_empty() {
                        plain.clear();
                        let used = gunzip.step(rest, &mut plain).map_err(|_| End::Lost)?;
                        rest = &rest[used..];
                        take_items(&mut decoder, &plain, writer).await?;
                    }
                }
            }
        }
        let meta = decoder.finish()?;
        let (Some(version), Some(kind)) = (meta.resource_version, meta.kind.strip_suffix("List"))
        else {
            return Err(End::Broken(crate::wire::json::Error::malformed(
                "the list has no version or no kind",
            )));
        };
        if follower
            .log
            .complete()
            .is_some_and(|complete| version < complete)
        {
            log::warn!(
                "{collection}: the server's versions went back to {version}; the mirror starts anew"
            );
            writer.reset()?;
            return Err(End::Expired);
        }
        follower.log.fresh(process::unix_time());
        writer
            .commit(version, &TypeMeta::of_list(kind, &meta))
            .await?;
        Ok(())
    }

    /// One exchange of our own; anything but 200 is an end.
    async fn ask(&self, request: crate::io::http::Request) -> Result<Response, End> {
        let mut response = match self.upstream.send(request).await {
            Ok(response) => response,
            Err(_) => return Err(End::Lost),
        };
        match response.status {
            StatusCode::OK => Ok(response),
            StatusCode::GONE => Err(End::Expired),
            _ => Err(Answer::read(&mut response)
                .await
                .map_or(End::Lost, End::Refused)),
        }
    }
}

/// Stages the items that a list's next bytes end.
async fn take_items(
    decoder: &mut ListDecoder,
    bytes: &[u8],
    writer: &mut Writer,
) -> Result<(), End> {
    decoder.push(bytes)?;
    while let Some(part) = decoder.part()? {
        if let Part::Item(item) = part {
            let (key, version) = object::key_and_version(item)?;
            writer
                .item(&key, version, !object::has_type(item), item)
                .await?;
        }
    }
    Ok(())
}

/// Feeds the log from a running watch until it ends.
async fn watch(follower: &Follower, writer: &mut Writer, body: &mut Body) -> End {
    let opened = Instant::now();
    let mut decoder = WatchDecoder::new(OBJECT_LIMIT);
    let mut settling = true;
    let mut empty = true;
    loop {
        let chunk = if settling {
            let pause = SETTLED.min(SETTLES_WITHIN.saturating_sub(opened.elapsed()));
            let quiet = async {
                Timer::after(pause).await;
                None
            };
            match async { Some(body.next().await) }.or(quiet).await {
                Some(chunk) => chunk,
                None => {
                    settling = false;
                    follower.become_(State::Live);
                    continue;
                }
            }
        } else {
            body.next().await
        };
        let chunk = match chunk {
            Some(Ok(chunk)) => {
                follower.log.fresh(process::unix_time());
                chunk
            }
            Some(Err(_)) => return End::Lost,
            None => {
                return match decoder.finish() {
                    Ok(()) => End::Over {
                        short: empty && opened.elapsed() < SHORT,
                    },
                    Err(error) => End::Broken(error),
                };
            }
        };
        if let Err(error) = decoder.push(&chunk) {
            return End::Broken(error);
        }
        loop {
            match decoder.event() {
                Ok(Some(event)) => match apply(writer, event) {
                    Ok(()) => empty = false,
                    Err(end) => return end,
                },
                Ok(None) => break,
                Err(error) => return End::Broken(error),
            }
        }
    }
}

/// One event of the upstream watch.
fn apply(writer: &mut Writer, event: Event<'_>) -> Result<(), End> {
    match event.kind {
        EventType::Bookmark => {
            let meta = object::meta(event.object)?;
            if let Some(version) = meta.resource_version {
                writer.advance(version);
            }
        }
        EventType::Error => {
            let (code, reason) = object::status_code_and_reason(event.object).unwrap_or_default();
            if code == 410 || reason == "Expired" || reason == "Gone" {
                return Err(End::Expired);
            }
            let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return Err(End::Refused(Answer {
                status,
                content_type: Some(HeaderValue::from_static("application/json")),
                retry_after: None,
                body: event.object.to_vec(),
            }));
        }
        EventType::Added | EventType::Modified | EventType::Deleted => {
            let (key, version) = object::key_and_version(event.object)?;
            let (typed, stored) = match object::without_type(event.object) {
                Some((_, _, rest)) => (true, rest),
                None => (false, event.object.into()),
            };
            if event.kind == EventType::Deleted {
                writer.delete(&key, version, typed, &stored)?;
            } else {
                writer.put(&key, version, typed, &stored)?;
            }
        }
    }
    Ok(())
}

/// The collection's selectors as they stand in a query, each with `&` before it.
fn selectors(collection: &Collection) -> String {
    let mut query = String::new();
    for (name, value) in [
        ("fieldSelector", collection.fields.to_string()),
        ("labelSelector", collection.labels.to_string()),
    ] {
        if !value.is_empty() {
            query.push_str(&format!(
                "&{name}={}",
                crate::wire::request::percent_encode(&value)
            ));
        }
    }
    query
}

impl Answer {
    async fn read(response: &mut Response) -> Option<Self> {
        let mut body = Vec::new();
        while let Some(chunk) = response.body.next().await {
            body.extend_from_slice(&chunk.ok()?);
            if body.len() > ANSWER_LIMIT {
                return None;
            }
        }
        Some(Self {
            status: response.status,
            content_type: response.headers.get("content-type").cloned(),
            retry_after: response.headers.get("retry-after").cloned(),
            body,
        })
    }

    fn response(&self) -> Response {
        let mut response = reply::with_body(self.status, Body::full(self.body.clone()));
        for (name, value) in [
            ("content-type", &self.content_type),
            ("retry-after", &self.retry_after),
        ] {
            if let Some(value) = value {
                response.headers.insert(name, value.clone());
            }
        }
        response
    }

    /// What the server asks to wait, a minute at the most, else our own pace.
    fn pause(&self, own: Duration) -> Duration {
        let asked = self
            .retry_after
            .as_ref()
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        asked.map_or(own, |asked| {
            asked
                .min(Duration::from_secs(60))
                .max(own.min(Duration::from_secs(1)))
        })
    }
}
