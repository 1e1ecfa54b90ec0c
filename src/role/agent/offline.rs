//! Lists and gets from the mirror: what the API server would answer, at the version that the mirror is complete at.

use std::rc::Rc;
use std::time::Duration;

use crate::io::http::Body;
use crate::io::http::Bytes;
use crate::io::http::Error;
use crate::io::http::Response;
use crate::io::http::StatusCode;
use crate::io::process;
use crate::k8s::collection::Collection;
use crate::k8s::encoding::Encoding;
use crate::k8s::object::ObjectKey;
use crate::k8s::object::ResourceVersion;
use crate::k8s::status::Status;
use crate::role::agent::Agent;
use crate::role::agent::asked::Asked;
use crate::role::agent::live;
use crate::role::agent::reply;
use crate::role::agent::view::View;
use crate::rule::health::Health;
use crate::rule::route::Version;
use crate::state::mirror::Log;
use crate::state::mirror::Lookup;
use crate::state::mirror::Snapshot;
use crate::state::mirror::Stored;
use crate::state::mirror::TypeMeta;
use crate::wire::list;
use crate::wire::list::ListEncoder;
use crate::wire::media::Shape;
use crate::wire::record::Item;
use crate::wire::request::Verb;

/// How much later a broader collection must have been heard of to answer in place of the one that was asked for: more than
/// two quiet streams of one server, with a bookmark a minute, differ by when the line goes.
const STALE_SECONDS: u64 = 300;

/// Bytes gathered before they are handed to the client's connection, and room for the object that is one too many.
const CHUNK: usize = 60 << 10;
const ROOM: usize = 64 << 10;
/// So few objects are mostly less than that.
const FEW: usize = 32;

/// Answers a list or a get from the mirror. What was never known is 503, never 404 and never an empty list.
pub fn answer(agent: &Agent, asked: &Asked) -> Result<Response, Status> {
    let Some(collection) = asked.mirrored() else {
        return Err(unknown(asked));
    };
    let (mut response, log) = match (asked.verb(), asked.name()) {
        (Verb::Get, Some(name)) => one(agent, asked, collection, name)?,
        _ => all(agent, asked, collection)?,
    };
    let followed = agent
        .followers
        .find(log.name())
        .is_some_and(|follower| follower.is_live());
    if !followed || agent.upstream.health() == Health::Unhealthy {
        reply::aged(&mut response, age(&log));
    }
    Ok(response)
}

/// How long ago the log was last known to be what the server has.
pub fn age(log: &Log) -> Option<Duration> {
    let touched = Some(log.touched()).filter(|touched| *touched > 0)?;
    Some(Duration::from_secs(
        process::unix_time().saturating_sub(touched),
    ))
}

fn all(
    agent: &Agent,
    asked: &Asked,
    collection: &Collection,
) -> Result<(Response, Rc<Log>), Status> {
    let log = best(agent, asked, collection)?;
    let told = log.told().ok_or_else(|| unknown(asked))?;
    check_version(asked, &log, told)?;
    let mut view = View::new(&agent.chain, collection, log.name())?;
    view.through(agent.live.of(log.name()));
    let of = log.type_meta().ok_or_else(|| unknown(asked))?;
    let Some(mut snapshot) = log.snapshot().map_err(|error| damaged(&error))? else {
        return Err(unknown(asked));
    };
    // Nothing happens between the two: they are of one state.
    let measured = match of.encoding {
        Encoding::Json => None,
        Encoding::Protobuf => log.snapshot().map_err(|error| damaged(&error))?,
    };
    let shape = asked
        .shape(of.encoding)
        .ok_or_else(|| not_acceptable(of.encoding))?;
    let encoding = of.encoding;
    let body = Body::generate(move |mut sink| async move {
        let shown = shape.of(&of);
        let version = snapshot.version().max(told);
        let mut encoder = match measured {
            None => ListEncoder::json(&shown.kind, &shown.api_version, shown.typed, version),
            Some(measured) => {
                let items = measure(measured, &view, shape).await?;
                ListEncoder::protobuf(&shown.kind, &shown.api_version, version, items)
            }
        };
        let mut out = Vec::with_capacity(if snapshot.len() < FEW { 0 } else { ROOM });
        encoder.start(&mut out);
        while let Some(item) = snapshot.read() {
            let item = item.map_err(|error| Error::local("read the mirror", &error))?;
            let object = view.object(&item);
            let item = Item {
                object: &object,
                ..item
            };
            if view.shows(&item) {
                encoder.item(&shape.item(item.object), &mut out);
            }
            if out.len() >= CHUNK {
                let full = std::mem::replace(&mut out, Vec::with_capacity(ROOM));
                sink.send(Bytes::from(full)).await;
            }
        }
        encoder.finish(&mut out);
        sink.send(Bytes::from(out)).await;
        Ok(())
    });
    Ok((
        reply::with_body(StatusCode::OK, encoding.media_type(), body),
        log,
    ))
}

/// How many bytes the items take in a list in protobuf, whose length stands before the first of them.
async fn measure(mut snapshot: Snapshot, view: &View, shape: Shape) -> Result<u64, Error> {
    let (mut items, mut read) = (0, 0);
    while let Some(item) = snapshot.read() {
        let item = item.map_err(|error| Error::local("read the mirror", &error))?;
        let object = view.object(&item);
        let item = Item {
            object: &object,
            ..item
        };
        if view.shows(&item) {
            items += list::item_len(shape.item(item.object).len());
        }
        read += item.object.len();
        if read >= CHUNK {
            read = 0;
            // Others have their turn.
            smol::future::yield_now().await;
        }
    }
    Ok(items)
}

/// The complete log that answers for `collection` in an encoding that is accepted: its own, or, when that is missing or was
/// left long ago, the broader one that knows the latest version.
///
/// Its own goes first though another may be ahead by what the line carried last: who was told more than it knows would never
/// hear of the deletion of what it did not know, when a list brings it up. So one that was left long ago is given up when
/// another answers in its place.
pub fn best(agent: &Agent, asked: &Asked, collection: &Collection) -> Result<Rc<Log>, Status> {
    let cut_off = agent.upstream.health() == Health::Unhealthy;
    let (mut refused, mut other, mut latest) = (None, None, None::<Rc<Log>>);
    for log in agent.mirror.broader(collection) {
        let Some(of) = log.type_meta() else { continue };
        if asked.shape(of.encoding).is_none() {
            refused = Some(of.encoding);
        } else if !asked.hopes_for(of.encoding) {
            other = other.or(Some(log));
        } else if log.name() == collection {
            let heard = latest.as_ref().map_or(0, |latest| latest.touched());
            let left = log.touched() > 0 && heard.saturating_sub(log.touched()) > STALE_SECONDS;
            if !(cut_off && left) {
                return Ok(log);
            }
            if let Some(mut writer) = log.writer()
                && let Err(error) = writer.reset()
            {
                log::warn!("{collection}: an old state can't be given up: {error}");
            }
        } else if latest.is_none() {
            latest = Some(log);
        }
    }
    latest
        .or(other)
        .ok_or_else(|| refused.map_or_else(|| unknown(asked), not_acceptable))
}

/// A version that the mirror can't speak for gets the server's own answer (kubernetes-wire 3.6, rules 2 and 3).
fn check_version(asked: &Asked, log: &Log, told: ResourceVersion) -> Result<(), Status> {
    let options = asked.options();
    if options.continue_token.is_some() {
        return Err(Status::expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list \
             without the continue parameter.",
        ));
    }
    let text = options.resource_version.as_deref().unwrap_or("");
    if text.is_empty() {
        return Ok(());
    }
    let Some(version) = ResourceVersion::parse(text) else {
        return Err(Status::bad_request(&format!(
            "invalid resource version: resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
        )));
    };
    if version > log.ahead().unwrap_or(told).max(told) {
        return Err(Status::too_large_version(version, told));
    }
    if asked.version() == Version::Exact
        && options.resource_version_match.is_some()
        && version != told
    {
        return Err(Status::expired(&format!(
            "The resourceVersion for the provided list is too old: {version}"
        )));
    }
    Ok(())
}

/// Whether an object is held, in whichever encoding.
pub fn holds(agent: &Agent, collection: &Collection, key: &ObjectKey) -> bool {
    let logs = agent
        .mirror
        .of_resource(&collection.resource, &collection.credential);
    logs.iter()
        .any(|log| log.version_of(key.as_str()).is_some())
}

/// One object from whatever log holds it, as the answer to `asked`, and that log.
pub fn one(
    agent: &Agent,
    asked: &Asked,
    collection: &Collection,
    name: &str,
) -> Result<(Response, Rc<Log>), Status> {
    let key = ObjectKey::new(collection.namespace.as_deref().unwrap_or(""), name);
    if agent.chain.by_name() && !agent.chain.admits(collection, &key, b"{}") {
        return Err(not_found(collection, name));
    }
    // Only a collection that covers all of that name can say that there is none.
    let mut absent = false;
    let (mut other, mut refused) = (None, None);
    for log in agent
        .mirror
        .of_resource(&collection.resource, &collection.credential)
    {
        match log.lookup(&key).map_err(|error| damaged(&error))? {
            Lookup::Found(stored) => {
                if !agent.chain.admits(collection, &key, &stored.object) {
                    return Err(not_found(collection, name));
                }
                let of = log.type_meta().ok_or_else(|| unknown(asked))?;
                let Some(shape) = asked.shape(of.encoding) else {
                    refused = Some(of.encoding);
                    continue;
                };
                let stored = live::shown(agent.live.of(collection).as_ref(), stored);
                if asked.hopes_for(of.encoding) {
                    return Ok((alone(shape, stored, &of), log));
                }
                other = other.or(Some((shape, stored, of, log)));
            }
            Lookup::Absent => absent |= log.name().covers(collection),
            Lookup::Unknown => {}
        }
    }
    if let Some((shape, stored, of, log)) = other {
        return Ok((alone(shape, stored, &of), log));
    }
    Err(match refused {
        Some(encoding) => not_acceptable(encoding),
        None if absent => not_found(collection, name),
        None => unknown(asked),
    })
}

/// An answer that is one object.
fn alone(shape: Shape, stored: Stored, of: &TypeMeta) -> Response {
    let mut object = shape.alone(stored, of);
    if of.encoding == Encoding::Json {
        object.push(b'\n');
    }
    reply::with_body(StatusCode::OK, of.encoding.media_type(), Body::full(object))
}

/// The answer for an object that is known not to be there, or that is kept from the client.
pub fn not_found(collection: &Collection, name: &str) -> Status {
    Status::not_found(&collection.resource, name)
}

/// The answer to who accepts nothing in which the answer is held.
pub fn not_acceptable(held: Encoding) -> Status {
    Status::not_acceptable(&format!(
        "only the following media types are accepted: {} (the line to the API server is down)",
        held.media_type()
    ))
}

/// The answer for what only the cloud can answer.
pub fn refused(asked: &Asked) -> Status {
    Status::unavailable(&format!(
        "the line to the API server is down: {} {} can't be answered on this node",
        asked.method(),
        asked.path()
    ))
}

/// The answer for what was never known: the client must not take it for a deletion.
pub fn unknown(asked: &Asked) -> Status {
    Status::unavailable(&format!(
        "the line to the API server is down, and this node has never mirrored {} in a form that answers {} {}",
        asked
            .collection()
            .map_or_else(|| asked.path().to_owned(), ToString::to_string),
        asked.method(),
        asked.path()
    ))
}

fn damaged(error: &dyn std::fmt::Display) -> Status {
    Status::unavailable(&format!("the mirror can't be read: {error}"))
}
