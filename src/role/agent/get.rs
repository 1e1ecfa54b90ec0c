//! A get by name while the cloud can be reached: answered by the cloud, and remembered.
//!
//! One object, fetched by name, is kept as the collection of the objects with that name: complete at the object's own
//! version. It is not kept a second time when a running watch already holds it.

use std::rc::Rc;

use crate::io::gzip::Gunzip;
use crate::io::http::Body;
use crate::io::http::Request;
use crate::io::http::Response;
use crate::io::http::StatusCode;
use crate::io::process;
use crate::k8s::collection::Collection;
use crate::k8s::encoding::Encoding;
use crate::k8s::object::ObjectKey;
use crate::k8s::object::ResourceVersion;
use crate::role::agent::Agent;
use crate::role::agent::asked::Asked;
use crate::role::agent::forward;
use crate::role::agent::forward::Failure;
use crate::role::agent::offline;
use crate::role::agent::reply;
use crate::role::agent::whole::Whole;
use crate::role::agent::whole::whole;
use crate::rule::retention;
use crate::state::mirror;
use crate::state::mirror::Lookup;
use crate::state::mirror::TypeMeta;
use crate::wire::list::OBJECT_LIMIT;
use crate::wire::object;

/// Gets one object from the cloud; from the mirror when the line goes before it has come whole.
pub async fn get(agent: &Rc<Agent>, asked: &Asked, mut request: Request) -> Response {
    let (Some(collection), Some(name)) = (asked.mirrored().cloned(), asked.name()) else {
        return agent.cut_off(asked);
    };
    let key = ObjectKey::new(collection.namespace.as_deref().unwrap_or(""), name);
    // A verdict that depends on the name alone needs no line.
    if agent.chain.by_name() && !agent.chain.admits(&collection, &key, b"{}") {
        return reply::status(asked.status(), &offline::not_found(&collection, name));
    }
    let before = agent
        .mirror
        .find(&collection)
        .and_then(|log| log.complete());
    forward::ask_for_readable(asked, &mut request);
    request.headers.remove("accept-encoding");
    let mut response = match forward::send(agent, asked, request).await {
        Ok(response) => response,
        Err(Failure::Unreachable) => return agent.cut_off(asked),
        Err(Failure::Answered(response)) => return response,
    };
    if response.status == StatusCode::NOT_FOUND {
        forget(agent, &collection);
        return response;
    }
    let Some(encoding) = forward::encoding(&response) else {
        return response;
    };
    let gunzip = response
        .headers
        .contains_key("content-encoding")
        .then(Gunzip::new);
    let body = std::mem::replace(&mut response.body, Body::empty());
    let object = match whole(body, gunzip, OBJECT_LIMIT).await {
        Whole::Bytes(object) => object,
        Whole::Cut => return agent.cut_off(asked),
        // Larger than anything that Kubernetes stores: it is passed on, and neither filtered nor kept.
        Whole::Large(body) => {
            response.body = body;
            return response;
        }
    };
    if !agent.chain.admits(&collection, &key, &object) {
        return reply::status(asked.status(), &offline::not_found(&collection, name));
    }
    if let Err(error) = remember(agent, &collection, before, encoding, &object).await {
        log::warn!("{collection} is not mirrored: {error}");
    }
    response.headers.remove("content-encoding");
    response.headers.remove("content-length");
    response.body = Body::full(object);
    response
}

/// Keeps the object as the collection of its name. `before`: the version that the collection was complete at when the object
/// was asked for.
pub async fn remember(
    agent: &Agent,
    collection: &Collection,
    before: Option<ResourceVersion>,
    encoding: Encoding,
    object: &[u8],
) -> Result<(), mirror::Error> {
    let body = match encoding {
        Encoding::Json => object.trim_ascii(),
        Encoding::Protobuf => object,
    };
    let Ok((key, version)) = object::key_and_version(body) else {
        return Ok(());
    };
    if agent.followers.hold(collection, &key) {
        return Ok(());
    }
    let (of, typed, item) = match object::without_type(body) {
        Some((kind, api_version, rest)) => (
            TypeMeta {
                kind,
                api_version,
                typed: true,
                encoding,
            },
            true,
            rest,
        ),
        None => {
            let Ok(meta) = object::meta(body) else {
                return Ok(());
            };
            let (Some(kind), Some(api_version)) = (meta.kind, meta.api_version) else {
                return Ok(());
            };
            (
                TypeMeta {
                    kind,
                    api_version,
                    typed: false,
                    encoding,
                },
                false,
                body.into(),
            )
        }
    };
    let log = agent.mirror.ensure(
        collection,
        retention::sync_window(&collection.resource, agent.options.sync_window),
    )?;
    let Some(mut writer) = log.writer() else {
        return Ok(());
    };
    if retention::kept_once(&collection.resource, collection.namespace.as_deref())
        && let Lookup::Found(held) = log.lookup(&key)?
        && object::is_same(&held.object, body)
    {
        return Ok(());
    }
    if log.complete().is_some_and(|complete| version < complete) {
        if before.is_none_or(|before| version >= before) {
            // Overtaken by another get while it was on its way.
            return Ok(());
        }
        // The server's versions went back: what is held is of another history.
        writer.reset()?;
    }
    log.fresh(process::unix_time());
    writer.begin(Some(&of))?;
    writer.item(&key, version, typed, &item).await?;
    writer.commit(version, &of).await.map(|_| ())
}

/// The cloud says that the object is gone: what was fetched by its name is not answered any more, in no encoding.
fn forget(agent: &Agent, collection: &Collection) {
    for encoding in [Encoding::Json, Encoding::Protobuf] {
        let collection = Collection {
            encoding,
            ..collection.clone()
        };
        if agent.followers.find(&collection).is_none() && agent.mirror.find(&collection).is_some() {
            agent.mirror.forget(&collection);
        }
    }
}
