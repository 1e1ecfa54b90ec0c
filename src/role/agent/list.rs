//! A list while the cloud can be reached: streamed item by item through the filters to the client, and to the log.
//!
//! The log takes what the cloud sent, the client what it may see. The log's version is committed when the list has ended
//! well, before its last bytes go to the client: who has seen a whole list finds it again after a cut. Of several clients
//! that list one collection at once, one fills the log; a collection that a running watch feeds is not filled again.

use std::rc::Rc;
use std::time::Duration;

use smol::Timer;
use smol::future::FutureExt;

use crate::io::gzip::Gunzip;
use crate::io::http::Body;
use crate::io::http::Bytes;
use crate::io::http::Error;
use crate::io::http::HeaderValue;
use crate::io::http::Request;
use crate::io::http::Response;
use crate::io::http::Sink;
use crate::io::process;
use crate::k8s::collection::Collection;
use crate::k8s::encoding::Encoding;
use crate::k8s::object::ObjectKey;
use crate::k8s::object::ResourceVersion;
use crate::role::agent::Agent;
use crate::role::agent::asked::Asked;
use crate::role::agent::follow::Follower;
use crate::role::agent::forward;
use crate::role::agent::forward::Failure;
use crate::role::agent::list::items::Admitted;
use crate::rule::retention;
use crate::rule::route::Version;
use crate::state::mirror;
use crate::state::mirror::Guesses;
use crate::state::mirror::TypeMeta;
use crate::state::mirror::Writer;
use crate::wire::json::Skip;
use crate::wire::list::ListDecoder;
use crate::wire::list::ListMeta;
use crate::wire::list::OBJECT_LIMIT;
use crate::wire::list::Part;
use crate::wire::list::Rejoin;

mod items;

/// Bytes gathered before they are handed to the client's connection, and room for what one more step inflates.
const CHUNK: usize = 48 << 10;
const ROOM: usize = 68 << 10;

/// How long the end of a list waits for the watch that feeds the mirror.
const CATCH_UP: Duration = Duration::from_millis(300);
/// How long it waits for an object that the list showed and the watch has not brought; and then for the list that replaces
/// a watch which is as late as that.
const LATE: Duration = Duration::from_secs(3);
/// How many items the watch may be behind; more are not waited for.
const UNHELD: usize = 4096;

/// Lists from the cloud; from the mirror when the line goes before the first byte of the answer's body.
pub async fn list(agent: &Rc<Agent>, asked: &Asked, mut request: Request) -> Response {
    let Some(collection) = asked.collection().cloned() else {
        return agent.cut_off(asked);
    };
    // Before the request goes: what comes to the log while the list is on its way is no sign of another history.
    let known = agent.mirror.find(&collection);
    let before = known.as_ref().and_then(|log| log.ahead());
    let jumps = known.map(|log| log.jumps());
    let takes_gzip = accepts_gzip(&request);
    // A form that only the cloud makes stays what was asked for.
    if asked.plain() || !agent.chain.is_empty() {
        forward::ask_for_readable(asked, &mut request);
    }
    request
        .headers
        .insert("accept-encoding", HeaderValue::from_static("gzip"));
    let mut response = match forward::send(agent, asked, request).await {
        Ok(response) => response,
        Err(Failure::Unreachable) => return agent.cut_off(asked),
        Err(Failure::Answered(response)) => return response,
    };
    let gzip = match response
        .headers
        .get("content-encoding")
        .map(HeaderValue::as_bytes)
    {
        None => false,
        Some(b"gzip") => true,
        // Not what was asked for: it is the client's to read.
        Some(_) => return response,
    };
    let encoding = forward::encoding(&response);
    let is_list = encoding.is_some();
    // The first bytes of the body decide: a list that waits when the line goes is answered from the mirror.
    let mut body = std::mem::replace(&mut response.body, Body::empty());
    let first = match body.next().await {
        Some(Ok(bytes)) => bytes,
        Some(Err(error)) => {
            log::debug!("list {collection}: {error}");
            return agent.cut_off(asked);
        }
        None => Bytes::new(),
    };
    let untouched = !is_list || agent.chain.is_empty();
    let raw = untouched && (takes_gzip || !gzip);
    if !raw {
        response.headers.remove("content-length");
        response.headers.remove("content-encoding");
    }
    let log = if is_list {
        writer(agent, asked, &collection)
    } else {
        None
    };
    let follower = agent.followers.find(&collection);
    // What the list will probably be: most of it is what it was the last time.
    let held = match (&log, &follower) {
        (Some(writer), _) => Some(Rc::clone(writer.log())),
        (None, Some(follower)) => Some(Rc::clone(follower.log())),
        (None, None) => agent.mirror.find(&collection),
    };
    let copy = Copy {
        agent: Rc::clone(agent),
        plain: asked.plain(),
        items: 0,
        unheld: Vec::new(),
        body,
        first: Some(first),
        gunzip: gzip.then(Gunzip::new),
        raw,
        read: is_list && (!raw || log.is_some() || follower.is_some()),
        encoding: encoding.unwrap_or_default(),
        admitted: Admitted {
            chain: Rc::clone(&agent.chain),
            rejoin: Rejoin::new(encoding.unwrap_or_default()),
            collection,
        },
        log,
        follower,
        guesses: held.filter(|_| asked.plain()).map(Guesses::new),
        before,
        jumps,
        recent: asked.version() == Version::Recent,
        paged: asked.options().limit.is_some(),
    };
    response.body = Body::generate(move |sink| copy.run(sink));
    response
}

/// The right to fill the collection's log, if this list may do so and nobody else does.
fn writer(agent: &Agent, asked: &Asked, collection: &Collection) -> Option<Writer> {
    if asked.mirrored().is_none()
        || !asked.plain()
        || asked.version() == Version::Exact
        || agent.followers.rests(collection)
    {
        return None;
    }
    let window = retention::sync_window(&collection.resource, agent.options.sync_window);
    match agent.mirror.ensure(collection, window) {
        Ok(log) => {
            let mut writer = log.writer()?;
            writer
                .begin(None)
                .map_err(|error| log::warn!("{collection} is not mirrored: {error}"))
                .ok()?;
            Some(writer)
        }
        Err(error) => {
            log::warn!("{collection} is not mirrored: {error}");
            None
        }
    }
}

/// Whether the client takes gzip.
pub fn accepts_gzip(request: &Request) -> bool {
    request
        .headers
        .get_all("accept-encoding")
        .iter()
        .any(|value| {
            String::from_utf8_lossy(value.as_bytes())
                .split(',')
                .any(|coding| {
                    matches!(
                        coding.split(';').map(str::trim).collect::<Vec<_>>()[..],
                        ["gzip"] | ["gzip", "q=1"]
                    )
                })
        })
}

/// A list on its way through.
struct Copy {
    agent: Rc<Agent>,
    /// The items are objects, not rows of a Table or the like.
    plain: bool,
    /// How many items there were, and which of them the log, that somebody else feeds, did not hold as they came.
    items: usize,
    unheld: Vec<(ObjectKey, ResourceVersion)>,
    body: Body,
    first: Option<Bytes>,
    gunzip: Option<Gunzip>,
    /// The client gets the cloud's bytes as they are.
    raw: bool,
    /// The bytes are read as a list, for the filters or for the log.
    read: bool,
    encoding: Encoding,
    admitted: Admitted,
    log: Option<Writer>,
    follower: Option<Rc<Follower>>,
    /// What the items probably are.
    guesses: Option<Guesses>,
    /// What the log was known to be complete at when the list was asked for.
    before: Option<ResourceVersion>,
    /// How many lists had moved it then.
    jumps: Option<u32>,
    recent: bool,
    paged: bool,
}

impl Copy {
    async fn run(mut self, mut sink: Sink) -> Result<(), Error> {
        let mut decoder = ListDecoder::new(self.encoding, OBJECT_LIMIT);
        let mut plain = Vec::new();
        let mut out = Vec::new();
        // A raw chunk is held back until the next one has come: the client must not see the list's end before the log.
        let mut held = Bytes::new();
        loop {
            let chunk = match self.first.take() {
                Some(first) => first,
                None => match self.body.next().await {
                    Some(chunk) => chunk?,
                    None => break,
                },
            };
            if self.raw && !held.is_empty() {
                sink.send(std::mem::take(&mut held)).await;
            }
            let mut at = 0;
            while at < chunk.len() && (self.read || !self.raw) {
                let (bytes, used) = inflate(&mut self.gunzip, &chunk[at..], &mut plain)?;
                at += used;
                if !self.read {
                    out.extend_from_slice(bytes);
                } else if let Err(error) = self.feed(&mut decoder, bytes, &mut out).await {
                    if !self.raw {
                        return Err(Error::upstream("read the list", &error));
                    }
                    self.give_up(&error);
                }
                if out.len() >= CHUNK {
                    let full = std::mem::replace(&mut out, Vec::with_capacity(ROOM));
                    sink.send(Bytes::from(full)).await;
                }
            }
            if self.raw {
                held = chunk;
            }
        }
        if self.read || !self.raw {
            let whole = self.gunzip.as_ref().map_or(Ok(()), Gunzip::finish);
            whole.map_err(|error| Error::upstream("inflate the list", &error))?;
        }
        if self.read {
            match decoder.finish() {
                Ok(meta) => self.commit(&meta).await?,
                Err(error) if self.raw => self.give_up(&error),
                Err(error) => return Err(Error::upstream("read the list", &error)),
            }
        }
        out.extend_from_slice(&held);
        sink.send(Bytes::from(out)).await;
        Ok(())
    }

    async fn feed(
        &mut self,
        decoder: &mut ListDecoder,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), crate::wire::error::Error> {
        decoder.push(bytes)?;
        loop {
            if self.guesses.is_some() && decoder.is_between_items() {
                match self.guess(decoder, out) {
                    Skip::Whole => continue,
                    Skip::Open => break,
                    Skip::Other => {}
                }
            }
            let Some(part) = decoder.part()? else { break };
            match part {
                Part::Prefix(bytes) | Part::Suffix(bytes) if !self.raw => {
                    self.admitted.envelope(bytes, out);
                }
                Part::Prefix(_) | Part::Suffix(_) => {}
                Part::Item(item) => self.item(item, out).await?,
            }
        }
        // A typed list says early that it is one page of several; those are not mirrored, so nothing is written of them.
        if self.paged && !decoder.meta().continue_token.is_empty() {
            self.log = None;
        }
        Ok(())
    }

    /// Makes the list what the mirror holds, if it is a whole one.
    async fn commit(&mut self, meta: &ListMeta) -> Result<(), Error> {
        let Some(mut writer) = self.log.take() else {
            // Somebody else feeds the log; whether it is of this history can be seen all the same.
            if let (Some(follower), Some(version)) = (&self.follower, meta.resource_version) {
                if self.recent && self.before.is_some_and(|before| version < before) {
                    follower.outdated();
                } else if self.plain && meta.continue_token.is_empty() && self.unheld.len() < UNHELD
                {
                    self.catch_up(follower, version).await;
                    // A later list has carried the log past this one: what this one shows and the log has never held would
                    // never be said to be gone. Who gets no whole list asks again.
                    let log = follower.log();
                    let strange = |(key, version): &(ObjectKey, ResourceVersion)| {
                        log.version_of(key.as_str()) != Some(*version)
                    };
                    if self.jumps.is_some_and(|jumps| jumps != log.jumps())
                        && self.unheld.iter().any(strange)
                    {
                        return Err(Error::local("list", &"a later list has overtaken this one"));
                    }
                }
            }
            return Ok(());
        };
        let (Some(version), true) = (meta.resource_version, meta.continue_token.is_empty()) else {
            return Ok(());
        };
        let Some(kind) = meta.kind.strip_suffix("List") else {
            return Ok(());
        };
        let collection = &self.admitted.collection;
        let committed = async {
            if writer.log().ahead().is_some_and(|known| version < known) {
                // The server's versions went back (etcd restored): what is held is of another history. A list that asked for
                // any version may just be old, and so may one that others have overtaken.
                if self.recent && self.before.is_some_and(|before| version < before) {
                    log::warn!(
                        "{collection}: the server's versions went back to {version}; the mirror starts anew"
                    );
                    writer.reset()?;
                }
                return Ok(());
            }
            writer.log().fresh(process::unix_time());
            writer
                .commit(version, &TypeMeta::of_list(kind, meta, self.encoding))
                .await
                .map(|_| ())
        };
        if let Err(error) = committed.await {
            self.unmirrored(&error);
        }
        Ok(())
    }

    /// Waits for a moment until the watch has brought what the list shows: what a client has seen must be found again when
    /// the line goes. Then the log is complete at the list's version too. A watch that is late is not waited for but
    /// replaced by a list.
    async fn catch_up(&self, follower: &Follower, version: ResourceVersion) {
        let log = follower.log();
        // A later event says that all before it have come, deletions of what the list showed among them.
        let passed = || log.complete().is_some_and(|complete| complete >= version);
        let held = || {
            passed()
                || self.unheld.iter().all(|(key, version)| {
                    log.version_of(key.as_str())
                        .is_some_and(|held| held >= *version)
                })
        };
        let caught_up = || async {
            loop {
                let changed = log.changed();
                if passed() {
                    return;
                }
                if held() && log.len() == self.items {
                    log.listed(version);
                    return;
                }
                changed.await;
            }
        };
        let late = |time| async move {
            Timer::after(time).await;
        };
        caught_up().or(late(CATCH_UP)).await;
        if !held() {
            caught_up().or(late(LATE)).await;
        }
        if !held() {
            follower.outdated();
            caught_up().or(late(LATE)).await;
        }
    }

    /// The mirror can't take the list in; it passes all the same.
    fn unmirrored(&mut self, error: &mirror::Error) {
        let collection = &self.admitted.collection;
        log::warn!("{collection} is not mirrored: {error}");
        self.agent.followers.rest(collection, error);
        self.log = None;
    }

    fn give_up(&mut self, error: &dyn std::fmt::Display) {
        log::warn!("{} is not mirrored: {error}", self.admitted.collection);
        self.read = false;
        self.log = None;
    }
}

/// Some of the bytes that `input` stands for, and how much of it that was.
fn inflate<'a>(
    gunzip: &mut Option<Gunzip>,
    input: &'a [u8],
    plain: &'a mut Vec<u8>,
) -> Result<(&'a [u8], usize), Error> {
    match gunzip {
        None => Ok((input, input.len())),
        Some(gunzip) => {
            plain.clear();
            let used = gunzip
                .step(input, plain)
                .map_err(|error| Error::upstream("inflate the list", &error))?;
            Ok((plain, used))
        }
    }
}
