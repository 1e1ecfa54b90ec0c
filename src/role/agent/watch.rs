//! A local watch: a place in a collection's log, and a view.
//!
//! The client does not see whether an upstream watch feeds the log at the moment. A cut, a return, a relist or a restart
//! of the API server changes what comes, never that the watch is open.

use std::rc::Rc;
use std::time::Duration;
use std::time::Instant;

use smol::Timer;
use smol::future::FutureExt;

use crate::io::http::Body;
use crate::io::http::Bytes;
use crate::io::http::Error;
use crate::io::http::Request;
use crate::io::http::Response;
use crate::io::http::Sink;
use crate::io::http::StatusCode;
use crate::io::process;
use crate::k8s::collection::Collection;
use crate::k8s::object::ResourceVersion;
use crate::k8s::status::Status;
use crate::role::agent::Agent;
use crate::role::agent::asked::Asked;
use crate::role::agent::follow::Reader;
use crate::role::agent::follow::Ready;
use crate::role::agent::forward;
use crate::role::agent::live::Shown;
use crate::role::agent::offline;
use crate::role::agent::passed;
use crate::role::agent::reply;
use crate::role::agent::tally::By;
use crate::role::agent::view::View;
use crate::rule::filter::Outcome;
use crate::rule::filter::outcome;
use crate::rule::health::Health;
use crate::state::mirror::Change;
use crate::state::mirror::Cursor;
use crate::state::mirror::Log;
use crate::state::mirror::Next;
use crate::state::mirror::Snapshot;
use crate::state::mirror::Stored;
use crate::state::mirror::TypeMeta;
use crate::wire::media::Shape;
use crate::wire::object;
use crate::wire::request::Verb;
use crate::wire::watch;
use crate::wire::watch::EventType;

/// Bytes gathered before they are handed to the client's connection.
const CHUNK: usize = 16 << 10;
/// How often a client that asked for bookmarks gets one, as the API server does it.
const BOOKMARKS: Duration = Duration::from_secs(60);
/// How soon after the start the first bookmark comes: a watch that then ends was not an empty one (client-go relists
/// after a watch that ended within a second without an event).
const FIRST_BOOKMARK: Duration = Duration::from_millis(500);
/// How long a watch without `timeoutSeconds` lasts at the least; ends are spread over as much again (the API server's
/// min-request-timeout).
const MIN_LIFE: Duration = Duration::from_secs(1800);
/// How long a watch lasts at the most, whatever `timeoutSeconds` says: a time that no clock can hold must not be added to one.
const MAX_LIFE: Duration = Duration::from_secs(24 * 3600);
/// How long clients should wait before they ask again for a watch that can't be served yet.
const RETRY_AFTER_SECONDS: u32 = 5;

/// Where a watch starts.
enum Start {
    /// With all objects as they are, then what changes.
    Objects,
    /// After a version.
    After(ResourceVersion),
}

/// Opens a watch.
pub async fn watch(agent: &Rc<Agent>, asked: &Asked, request: Request) -> Response {
    let Some(collection) = asked.mirrored().cloned() else {
        return agent.cut_off(asked);
    };
    let start = match start(asked) {
        Ok(start) => start,
        // The server has its own words for it; offline we use ours.
        Err(status) => {
            if agent.upstream.health() == Health::Unhealthy {
                return reply::status(asked.status(), &status);
            }
            return forward::forward(agent, asked, request).await;
        }
    };
    let mut reader = match agent.followers.attach(&collection, asked.identity()) {
        Ok(reader) => reader,
        Err(error) => {
            log::warn!("{collection} is not mirrored: {error}");
            return passed::watch(agent, asked, request).await;
        }
    };
    let fresh = matches!(start, Start::Objects);
    let ready = reader
        .ready(&agent.upstream, fresh, agent.options.patience)
        .await;
    let known = match ready {
        Ready::Complete => true,
        Ready::Refused(response) => return response,
        Ready::Unmirrored => {
            drop(reader);
            return passed::watch(agent, asked, request).await;
        }
        Ready::Unknown => false,
    };
    // Cut off, its own log may never have been complete, or be so old that lists are answered from a broader one: then so are
    // watches. That one must be followed then, or what changes would never reach this watch when the line is back.
    if !known || agent.upstream.health() == Health::Unhealthy {
        let best = offline::best(agent, asked, &collection).and_then(|log| {
            let reader = agent.followers.attach(log.name(), asked.identity());
            reader.map_err(|_| offline::unknown(asked))
        });
        match best {
            Ok(best) => reader = best,
            Err(_) if known => {}
            Err(mut status) => {
                if status.code == 503 {
                    status.retry_after_seconds = Some(RETRY_AFTER_SECONDS);
                }
                return reply::status(asked.status(), &status);
            }
        }
    }
    let log = Rc::clone(reader.log());
    agent.tally().answered(Verb::Watch, By::Mirror);
    match serve(agent, asked, &collection, start, reader, log) {
        Ok(response) => response,
        Err(status) => reply::status(asked.status(), &status),
    }
}

/// Reads where to start. `sendInitialEvents` needs `resourceVersionMatch=NotOlderThan` (KEP-3157).
fn start(asked: &Asked) -> Result<Start, Status> {
    let options = asked.options();
    let version = options.resource_version.as_deref().unwrap_or("");
    let matching = options.resource_version_match.as_deref();
    match (options.send_initial_events, matching) {
        (Some(_), Some("NotOlderThan")) | (None, None) => {}
        _ => {
            return Err(Status::bad_request(
                "sendInitialEvents and resourceVersionMatch=NotOlderThan go together, and only on a watch",
            ));
        }
    }
    let number = match version {
        "" => None,
        text => Some(ResourceVersion::parse(text).ok_or_else(|| {
            Status::bad_request(&format!(
                "resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
            ))
        })?),
    };
    Ok(match (options.send_initial_events, number) {
        (Some(true), _) | (None, None | Some(ResourceVersion(0))) => Start::Objects,
        (Some(false), None | Some(ResourceVersion(0))) => Start::After(ResourceVersion(0)),
        (_, Some(version)) => Start::After(version),
    })
}

fn serve(
    agent: &Rc<Agent>,
    asked: &Asked,
    collection: &Collection,
    start: Start,
    reader: Reader,
    log: Rc<Log>,
) -> Result<Response, Status> {
    let mut view = View::new(&agent.chain, collection, log.name())?;
    view.through(agent.live.of(log.name()));
    let unknown = || offline::unknown(asked);
    let complete = log.complete().ok_or_else(unknown)?;
    let cut_off = agent.upstream.health() == Health::Unhealthy;
    let known = log.ahead().unwrap_or(complete).max(complete);
    let wanted = asked
        .options()
        .resource_version
        .as_deref()
        .and_then(ResourceVersion::parse);
    let encoding = log.type_meta().ok_or_else(unknown)?.encoding;
    let shape = asked
        .shape(encoding)
        .ok_or_else(|| offline::not_acceptable(encoding))?;
    let stream_of = |body| reply::with_body(StatusCode::OK, encoding.stream_type(), body);
    let ended = |status: &Status| Ok(stream_of(Body::full(watch::error(encoding, status))));
    let expired = |message: String| ended(&Status::expired(&message));
    let (snapshot, cursor) = match start {
        Start::Objects => {
            // Rule 6 of kubernetes-wire 3.6: initial events not older than a version that was never known here.
            if cut_off && wanted.is_some_and(|wanted| wanted > known) {
                let status = Status::too_large_version(wanted.unwrap_or_default(), complete);
                return ended(&status);
            }
            let (snapshot, cursor) = log
                .cursor_from_start()
                .map_err(|error| {
                    Status::unavailable(&format!("the mirror can't be read: {error}"))
                })?
                .ok_or_else(unknown)?;
            (Some(snapshot), cursor)
        }
        Start::After(version) => {
            // Rule 7: the client is ahead of what was written here before the power went.
            if cut_off && version > known {
                return expired(format!(
                    "too large resource version: {version}, current: {complete}"
                ));
            }
            let version = if version == ResourceVersion(0) {
                complete
            } else {
                version
            };
            match log.cursor(version) {
                Ok(cursor) => (None, cursor),
                Err(_) => {
                    return expired(format!(
                        "too old resource version: {version} ({})",
                        log.oldest()
                    ));
                }
            }
        }
    };
    let lasts = asked
        .options()
        .timeout_seconds
        .filter(|seconds| *seconds > 0)
        .map_or_else(
            || MIN_LIFE + MIN_LIFE.mul_f64(f64::from(process::random()) / f64::from(u32::MAX)),
            |seconds| Duration::from_secs(seconds).min(MAX_LIFE),
        );
    let stream = Stream {
        agent: Rc::clone(agent),
        // Metadata alone has no endpoints.
        shown: agent
            .live
            .shown(log.name(), snapshot.is_none())
            .filter(|_| shape == Shape::Object),
        initial_end: snapshot.is_some(),
        snapshot,
        cursor,
        log: Rc::clone(&log),
        view,
        shape,
        bookmarks: asked.options().allow_watch_bookmarks,
        // A client that is ahead of us online hears nothing before its own version.
        told: match asked
            .options()
            .resource_version
            .as_deref()
            .and_then(ResourceVersion::parse)
        {
            Some(version) if version > complete => version,
            _ => ResourceVersion(0),
        },
        ends: Instant::now() + lasts,
        _reader: reader,
    };
    let mut response = stream_of(Body::generate(move |sink| stream.run(sink)));
    if cut_off {
        reply::aged(&mut response, offline::age(&log));
    }
    Ok(response)
}

/// Which objects, in events of which kind.
type Wanted<'w> = (EventType, &'w dyn Fn(&Stored) -> bool);

/// A watch that is open.
struct Stream {
    agent: Rc<Agent>,
    snapshot: Option<Snapshot>,
    initial_end: bool,
    cursor: Cursor,
    log: Rc<Log>,
    view: View,
    shown: Option<Shown>,
    shape: Shape,
    bookmarks: bool,
    told: ResourceVersion,
    ends: Instant,
    /// While it lives, the collection's upstream watch does.
    _reader: Reader,
}

impl Stream {
    async fn run(mut self, mut sink: Sink) -> Result<(), Error> {
        let Some(of) = self.log.type_meta() else {
            return Ok(());
        };
        let shown = self.shape.of(&of);
        let mut out = Vec::new();
        if let Some(snapshot) = self.snapshot.take() {
            let version = snapshot.version();
            let all: Wanted<'_> = (EventType::Added, &|_| true);
            Box::pin(self.objects(snapshot, all, &of, &mut out, &mut sink)).await?;
            self.told = version.max(self.log.told().unwrap_or_default());
            if self.bookmarks {
                out.extend_from_slice(&watch::bookmark(
                    shown.encoding,
                    &shown.api_version,
                    &shown.kind,
                    self.told,
                    self.initial_end,
                ));
            }
        }
        let mut bookmark = Instant::now()
            + if self.initial_end {
                BOOKMARKS
            } else {
                FIRST_BOOKMARK
            };
        loop {
            match self
                .cursor
                .next()
                .map_err(|error| Error::local("read the mirror", &error))?
            {
                Next::Change(change) => {
                    self.told = self.told.max(change.stored.version);
                    self.change(change, &of, &mut out)?;
                    if out.len() < CHUNK {
                        continue;
                    }
                }
                Next::Reset => {
                    let status = Status::expired("the server's history was replaced; list again");
                    out.extend_from_slice(&watch::error(shown.encoding, &status));
                    sink.send(Bytes::from(out)).await;
                    return Ok(());
                }
                Next::Idle => {
                    let now = Instant::now();
                    if let Some(shown) = &mut self.shown {
                        let overlay = self.agent.live.of(self.log.name());
                        if let Some(again) = shown.change(overlay.clone()) {
                            self.view.through(overlay);
                            let snapshot = self.log.snapshot();
                            let snapshot = snapshot
                                .map_err(|error| Error::local("read the mirror", &error))?;
                            if let Some(snapshot) = snapshot {
                                let some: Wanted<'_> = (EventType::Modified, &again);
                                Box::pin(self.objects(snapshot, some, &of, &mut out, &mut sink))
                                    .await?;
                            }
                            // These were of former versions: a client that comes back must not ask from there.
                            bookmark = now;
                            continue;
                        }
                    }
                    let over = now >= self.ends || self.agent.draining.get();
                    if self.bookmarks && (now >= bookmark || over) {
                        self.told = self.told.max(self.cursor.version());
                        out.extend_from_slice(&watch::bookmark(
                            shown.encoding,
                            &shown.api_version,
                            &shown.kind,
                            self.told,
                            false,
                        ));
                        bookmark = now + BOOKMARKS;
                    }
                    if over {
                        if !out.is_empty() {
                            sink.send(Bytes::from(out)).await;
                        }
                        return Ok(());
                    }
                }
            }
            if !out.is_empty() {
                sink.send(Bytes::from(std::mem::take(&mut out))).await;
                continue;
            }
            let due = if self.bookmarks {
                bookmark.min(self.ends)
            } else {
                self.ends
            };
            let woken = async {
                Timer::at(due).await;
            };
            self.log
                .changed()
                .or(woken)
                .or(self.agent.drained.wait())
                .await;
        }
    }

    /// Objects as this client sees them, those that are wanted.
    async fn objects(
        &self,
        mut snapshot: Snapshot,
        (kind, wanted): Wanted<'_>,
        of: &TypeMeta,
        out: &mut Vec<u8>,
        sink: &mut Sink,
    ) -> Result<(), Error> {
        while let Some(stored) = snapshot.next() {
            let stored = stored.map_err(|error| Error::local("read the mirror", &error))?;
            if wanted(&stored) && self.view.admits(&stored.key, &stored.object) {
                let object = self.shape.alone(self.view.shown(stored), of);
                watch::encode(of.encoding, kind, &object, out);
            }
            if out.len() >= CHUNK {
                sink.send(Bytes::from(std::mem::take(out))).await;
            }
        }
        Ok(())
    }

    /// One change as this client sees it: selector semantics, with the server's own content and versions.
    fn change(&self, change: Change, of: &TypeMeta, out: &mut Vec<u8>) -> Result<(), Error> {
        let key = &change.stored.key;
        let now = !change.deleted && self.view.admits(key, &change.stored.object);
        let deleted = change.deleted;
        // Nothing was there before, unless the change stands for several.
        let new = change.previous.is_none() && !change.replayed;
        let mut former = None;
        let was = if new && !deleted {
            Some(false)
        } else if self.view.by_name() {
            Some(self.view.admits(key, &change.stored.object))
        } else {
            former = match &change.previous {
                Some(previous) => Some(
                    self.log
                        .read_previous(previous)
                        .map_err(|error| Error::local("read the mirror", &error))?,
                ),
                None => None,
            };
            former.as_ref().map(|former| self.view.admits(key, former))
        };
        let version = change.stored.version;
        let kind = match outcome(was, now, deleted) {
            Outcome::Added => EventType::Added,
            Outcome::Modified => EventType::Modified,
            Outcome::Deleted => EventType::Deleted,
            Outcome::Swallowed => return Ok(()),
        };
        let object = match former {
            // It stopped passing: the client gets what it knew, at the version of the change.
            Some(former) if kind == EventType::Deleted && !deleted => {
                let former = object::with_resource_version(&former, version)
                    .map_err(|error| Error::local("read the mirror", &error))?;
                self.shape.alone(
                    Stored {
                        object: former,
                        ..change.stored
                    },
                    of,
                )
            }
            _ => self.shape.alone(self.view.shown(change.stored), of),
        };
        watch::encode(of.encoding, kind, &object, out);
        Ok(())
    }
}
