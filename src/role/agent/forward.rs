//! What goes to the cloud and comes back as it is: writes, subresources, discovery, tunnels, forms that only it makes.

use std::rc::Rc;

use smol::future::FutureExt;

use crate::io::http::Body;
use crate::io::http::Error;
use crate::io::http::HeaderMap;
use crate::io::http::HeaderValue;
use crate::io::http::Method;
use crate::io::http::Request;
use crate::io::http::Response;
use crate::io::http::Side;
use crate::io::http::StatusCode;
use crate::io::http::strip_connection_fields;
use crate::k8s::encoding::Encoding;
use crate::k8s::object::ObjectKey;
use crate::k8s::status::Status;
use crate::role::agent::Agent;
use crate::role::agent::asked::Asked;
use crate::role::agent::asked::joined;
use crate::role::agent::list;
use crate::role::agent::offline;
use crate::role::agent::passed;
use crate::role::agent::reply;
use crate::role::agent::tally::By;
use crate::wire::media;
use crate::wire::request::Verb;

/// Sends a request to the cloud as it came and passes the answer on as it comes. Lists and watches that are not
/// mirrored (leases, events, Tables) but can be read are still filtered.
pub async fn forward(agent: &Rc<Agent>, asked: &Asked, request: Request) -> Response {
    let collection = asked.collection().filter(|_| request.method == Method::GET);
    if let Some(collection) = collection {
        match (asked.verb(), asked.name()) {
            (Verb::List, _) if !agent.chain.is_empty() => {
                return list::list(agent, asked, request).await;
            }
            (Verb::Watch, _) => return passed::watch(agent, asked, request).await,
            (Verb::Get, Some(name)) => {
                let key = ObjectKey::new(collection.namespace.as_deref().unwrap_or(""), name);
                if agent.chain.by_name() && !agent.chain.admits(collection, &key, b"{}") {
                    return reply::status(asked.status(), &offline::not_found(collection, name));
                }
            }
            (Verb::List, _)
            | (Verb::Get, None)
            | (Verb::Create, _)
            | (Verb::Update, _)
            | (Verb::Patch, _)
            | (Verb::Delete, _)
            | (Verb::DeleteCollection, _)
            | (Verb::Other, _) => {}
        }
    }
    match send(agent, asked, request).await {
        Ok(response) => response,
        Err(Failure::Unreachable) => agent.cut_off(asked),
        Err(Failure::Answered(response)) => response,
    }
}

/// The encoding of an answer that is what was asked for; `None` for what can't be read here.
pub fn encoding(response: &Response) -> Option<Encoding> {
    let kind = response.headers.get("content-type")?.to_str().ok()?;
    (response.status == StatusCode::OK)
        .then(|| Encoding::named(kind))
        .flatten()
}

/// The `Accept` of encodings, in their order.
fn accept(encodings: &[Encoding]) -> String {
    let names: Vec<&str> = encodings.iter().map(|own| own.media_type()).collect();
    names.join(",")
}

/// Asks for what can be read here: objects if they are the client's first choice or will do, else those of its choices
/// that are JSON (a Table, metadata only). Who takes neither gets what it asked for.
pub fn ask_for_readable(asked: &Asked, request: &mut Request) {
    let accepted = if asked.plain() {
        Some(accept(&asked.encodings()))
    } else {
        media::json_only(&joined(&request.headers, "accept"))
    };
    if let Some(value) = accepted.and_then(|text| HeaderValue::from_str(&text).ok()) {
        request.headers.insert("accept", value);
    }
}

/// Opens a raw tunnel: the cloud's `101` comes back with the stream behind it.
pub async fn tunnel(agent: &Rc<Agent>, asked: &Asked, mut request: Request) -> Response {
    let upgrade = request.headers.get("upgrade").cloned();
    strip_connection_fields(&mut request.headers);
    if let Some(upgrade) = upgrade {
        request.headers.insert("upgrade", upgrade);
        request
            .headers
            .insert("connection", HeaderValue::from_static("Upgrade"));
    }
    match agent.upstream.upgrade(request).await {
        Ok(response) => {
            agent.tally().answered(Verb::Other, By::Cloud);
            response
        }
        Err(error) if error.is_upstream() => agent.cut_off(asked),
        Err(error) => reply::status(asked.status(), &refused(&error)),
    }
}

/// Why the cloud gave no answer that can be passed on.
pub enum Failure {
    /// The line is down, or what answered is a box on the way and not the API server.
    Unreachable,
    /// The request can't be sent; the answer says why.
    Answered(Response),
}

/// One exchange with the cloud, hop by hop headers removed both ways. A client that will not wait until a silent line is
/// given up (`timeout=4s`) has its answer before it goes.
///
/// An error page of a load balancer (502, 503 or 504 in something that the API server does not speak) is taken as an
/// unreachable cloud: its HTML must not reach clients. The API server's own errors are answers and pass.
pub async fn send(agent: &Agent, asked: &Asked, mut request: Request) -> Result<Response, Failure> {
    strip_connection_fields(&mut request.headers);
    let unheard = async {
        agent.upstream.unheard(asked.options().timeout).await;
        Err(Error::upstream(
            "wait for the answer",
            &"nothing has come, and the client waits no longer",
        ))
    };
    match agent.upstream.send(request).or(unheard).await {
        Ok(mut response) => {
            strip_connection_fields(&mut response.headers);
            if is_gateway_page(response.status, &response.headers) {
                Err(Failure::Unreachable)
            } else {
                agent.tally().answered(asked.verb(), By::Cloud);
                Ok(response)
            }
        }
        Err(error) if error.is_upstream() => Err(Failure::Unreachable),
        Err(error) => Err(Failure::Answered(reply::status(
            asked.status(),
            &refused(&error),
        ))),
    }
}

fn refused(error: &Error) -> Status {
    match error.side() {
        Side::Client => Status::bad_request(&error.to_string()),
        Side::Upstream | Side::Local => Status::bad_gateway(&error.to_string()),
    }
}

/// Whether an answer is the error page of a box on the way.
pub fn is_gateway_page(status: StatusCode, headers: &HeaderMap) -> bool {
    let spoken = headers.get("content-type").is_none_or(|value| {
        let value = value.as_bytes();
        [
            &b"application/json"[..],
            b"application/vnd.kubernetes",
            b"application/yaml",
            b"application/cbor",
            b"text/plain",
        ]
        .iter()
        .any(|own| value.starts_with(own))
    });
    matches!(status.as_u16(), 502..=504) && !spoken
}

/// A GET of our own for `target`, with the identity of who asked first. What is asked for in protobuf may come in JSON: a
/// kind may have nothing else.
pub fn own_request(target: String, encoding: Encoding, identity: &HeaderMap) -> Request {
    let mut headers = identity.clone();
    let accepted = match encoding {
        Encoding::Json => "application/json",
        Encoding::Protobuf => "application/vnd.kubernetes.protobuf,application/json",
    };
    headers.insert("accept", HeaderValue::from_static(accepted));
    headers.insert(
        "user-agent",
        HeaderValue::from_static(concat!("toono/", env!("CARGO_PKG_VERSION"))),
    );
    Request::new(Method::GET, target, headers, Body::empty())
}
