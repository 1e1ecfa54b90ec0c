//! `TokenRequest`: asked of the cloud as it came, and while the line is cut answered as the cloud did the last time.
//!
//! A kubelet asks for a token for each pod that mounts one, and starts no such pod without an answer (kubernetes-wire 4.2).
//! A `201` is kept under who asked, the service account, the audiences, the seconds and the object that it is bound to, and
//! given out again only for all of these, byte for byte, also past its life: the kubelet accepts that, starts the pod, and
//! asks again until a younger one comes. Any other request is told that the line is down.

use std::rc::Rc;

use crate::io::http::Body;
use crate::io::http::HeaderValue;
use crate::io::http::Request;
use crate::io::http::Response;
use crate::io::http::StatusCode;
use crate::io::process;
use crate::k8s::encoding::Encoding;
use crate::k8s::status::Status;
use crate::role::agent::Agent;
use crate::role::agent::UNREAD;
use crate::role::agent::UNREAD_TIME;
use crate::role::agent::asked::Asked;
use crate::role::agent::asked::joined;
use crate::role::agent::forward;
use crate::role::agent::forward::Failure;
use crate::role::agent::reply;
use crate::role::agent::tokens::Place;
use crate::role::agent::whole::Whole;
use crate::role::agent::whole::whole;
use crate::rule::health::Health;
use crate::wire::token::Kept;
use crate::wire::token::Spec;
use crate::wire::token::expires;

/// Larger requests and answers pass and are not kept: both are some 2 KB.
const LIMIT: usize = 64 << 10;

/// Answers a request for a token.
pub async fn token(agent: &Rc<Agent>, asked: &Asked, mut request: Request) -> Response {
    let encoding = Encoding::named(&joined(&request.headers, "content-type"));
    // Read before it is sent, since the line may go while it is; it is one segment of TCP.
    let body = std::mem::replace(&mut request.body, Body::empty());
    let place = match whole(body, None, LIMIT).await {
        Whole::Bytes(body) => {
            let spec = encoding.and_then(|encoding| Spec::read(encoding, &body));
            request.body = Body::full(body);
            spec.and_then(|spec| place(asked, &spec))
        }
        Whole::Large(body) => {
            request.body = body;
            None
        }
        Whole::Cut => {
            return reply::status(asked.status(), &Status::bad_request("the body broke off"));
        }
    };
    if agent.upstream.health() == Health::Unhealthy {
        request.body.discard(UNREAD, UNREAD_TIME).await;
        return cut_off(agent, asked, place.as_ref());
    }
    // What is coded could not be given to everybody.
    request.headers.remove("accept-encoding");
    let mut response = match forward::send(agent, asked, request).await {
        Ok(response) => response,
        Err(Failure::Unreachable) => {
            return cut_off(agent, asked, place.as_ref());
        }
        Err(Failure::Answered(response)) => return response,
    };
    let Some(place) = place.filter(|_| response.status == StatusCode::CREATED) else {
        return response;
    };
    let body = std::mem::replace(&mut response.body, Body::empty());
    match whole(body, None, LIMIT).await {
        Whole::Bytes(body) => {
            keep(agent, &place, &response, &body).await;
            response.body = Body::full(body);
            response
        }
        Whole::Large(body) => {
            response.body = body;
            response
        }
        Whole::Cut => cut_off(agent, asked, Some(&place)),
    }
}

fn place(asked: &Asked, spec: &Spec) -> Option<Place> {
    let (namespace, service_account) = asked.token_of()?;
    Place::new(asked.credential(), namespace, service_account, spec)
}

/// Keeps an answer if it is one that can be read. That it can't be kept harms nobody now.
async fn keep(agent: &Agent, place: &Place, response: &Response, body: &[u8]) {
    let content_type = joined(&response.headers, "content-type");
    let encoding = Encoding::named(&content_type);
    let expires = encoding.and_then(|encoding| expires(encoding, body));
    let Some(expires) = expires.filter(|_| !response.headers.contains_key("content-encoding"))
    else {
        return;
    };
    let collection = place.collection();
    if agent.followers.rests(&collection) {
        return;
    }
    let kept = Kept {
        content_type,
        pod: place.pod().to_owned(),
        expires,
        body: body.to_vec(),
    };
    let kept = agent.tokens.keep(place, &kept, process::unix_time()).await;
    if let Err(error) = kept {
        log::warn!("a token is not kept, its pod may not start offline: {error}");
        agent.followers.rest(&collection, &error);
    }
}

/// The answer without the cloud.
fn cut_off(agent: &Agent, asked: &Asked, place: Option<&Place>) -> Response {
    agent.answer_here(asked, replay(agent, asked, place))
}

fn replay(agent: &Agent, asked: &Asked, place: Option<&Place>) -> Result<Response, Status> {
    let kept = place.map_or(Ok(None), |place| agent.tokens.find(place));
    let kept =
        kept.map_err(|error| Status::unavailable(&format!("no token can be read: {error}")))?;
    let Some(kept) = kept else {
        return Err(Status::unavailable(&format!(
            "the line to the API server is down, and this node was never given a token for just this: POST {}",
            asked.path()
        )));
    };
    let encoding = Encoding::named(&kept.content_type);
    let taken = encoding.is_some_and(|encoding| asked.shape(encoding).is_some());
    let kind = HeaderValue::from_str(&kept.content_type).ok();
    let Some(kind) = kind.filter(|_| taken) else {
        return Err(Status::not_acceptable(&format!(
            "only the following media types are accepted: {} (the line to the API server is down)",
            kept.content_type
        )));
    };
    let json = Encoding::Json.media_type();
    let mut response = reply::with_body(StatusCode::CREATED, json, Body::full(kept.body));
    response.headers.insert("content-type", kind);
    Ok(response)
}
