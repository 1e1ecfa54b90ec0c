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
use crate::k8s::object::ObjectKey;
use crate::k8s::object::ResourceVersion;
use crate::k8s::status::Status;
use crate::role::agent::Agent;
use crate::role::agent::asked::Asked;
use crate::role::agent::reply;
use crate::role::agent::view::Shape;
use crate::role::agent::view::View;
use crate::role::agent::view::metadata;
use crate::rule::health::Health;
use crate::rule::route::Version;
use crate::state::mirror::Log;
use crate::state::mirror::Lookup;
use crate::wire::list;
use crate::wire::request::Verb;

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
    let log = best(agent, collection).ok_or_else(|| unknown(asked))?;
    let told = log.told().ok_or_else(|| unknown(asked))?;
    check_version(asked, &log, told)?;
    let view = View::new(&agent.chain, collection, log.name())?;
    let of = log.type_meta().ok_or_else(|| unknown(asked))?;
    let Some(mut snapshot) = log.snapshot().map_err(|error| damaged(&error))? else {
        return Err(unknown(asked));
    };
    let shape = asked.shape();
    let body = Body::generate(move |mut sink| async move {
        let shown = shape.of(&of);
        let mut encoder = list::ListEncoder::new(
            &shown.kind,
            &shown.api_version,
            shown.typed,
            snapshot.version().max(told),
        );
        let mut out = Vec::with_capacity(if snapshot.len() < FEW { 0 } else { ROOM });
        encoder.start(&mut out);
        while let Some(item) = snapshot.read() {
            let item = item.map_err(|error| Error::local("read the mirror", &error))?;
            let admitted = view.is_open()
                || ObjectKey::parse(item.key).is_some_and(|key| view.admits(&key, item.object));
            if admitted {
                match shape {
                    Shape::Object => encoder.item(item.object, &mut out),
                    Shape::Metadata => encoder.item(&metadata(item.object), &mut out),
                }
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
    Ok((reply::with_body(StatusCode::OK, body), log))
}

/// The complete log that answers for `collection`: itself or a broader one, the one that knows the latest version.
pub fn best(agent: &Agent, collection: &Collection) -> Option<Rc<Log>> {
    agent.mirror.broader(collection).into_iter().next()
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

fn one(
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
                let mut object = asked.shape().show(stored, &of);
                object.push(b'\n');
                return Ok((reply::with_body(StatusCode::OK, Body::full(object)), log));
            }
            Lookup::Absent => absent |= log.name().covers(collection),
            Lookup::Unknown => {}
        }
    }
    Err(if absent {
        not_found(collection, name)
    } else {
        unknown(asked)
    })
}

/// The answer for an object that is known not to be there, or that is kept from the client.
pub fn not_found(collection: &Collection, name: &str) -> Status {
    Status::not_found(&collection.resource, name)
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
