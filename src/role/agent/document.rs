//! Discovery, `/version` and `/openapi`: kept as they came, so that kubectl and other clients that look around before they
//! ask can do so while the line is cut.
//!
//! A document is known by its path, its query without `timeout`, what was accepted, and who asked; clients never get one
//! that was fetched with another's right. Documents lie in a log of their own for each credential, under a name that no request can
//! spell, and are told from each other by the digest of the rest. Online the cloud is asked each time, with the `ETag` of
//! what is held, so that an unchanged document does not cross the line again.
//!
//! What is stored is three lines, each ended by a line feed (the content type, the `ETag` or nothing, the content coding or
//! nothing), and behind them the body as it came.

use std::rc::Rc;
use std::time::Duration;

use crate::io::crypto;
use crate::io::gzip::Gunzip;
use crate::io::http::Body;
use crate::io::http::Bytes;
use crate::io::http::Error;
use crate::io::http::HeaderValue;
use crate::io::http::Request;
use crate::io::http::Response;
use crate::io::http::StatusCode;
use crate::io::process;
use crate::k8s::collection::Collection;
use crate::k8s::collection::Credential;
use crate::k8s::object::ObjectKey;
use crate::k8s::resource::GroupVersionResource;
use crate::role::agent::Agent;
use crate::role::agent::asked::Asked;
use crate::role::agent::asked::joined;
use crate::role::agent::forward;
use crate::role::agent::forward::Failure;
use crate::role::agent::list;
use crate::role::agent::offline;
use crate::role::agent::reply;
use crate::role::agent::tally::By;
use crate::role::agent::whole::Whole;
use crate::role::agent::whole::whole;
use crate::rule::health::Health;
use crate::state::mirror;
use crate::state::mirror::Log;
use crate::state::mirror::Lookup;
use crate::state::mirror::TypeMeta;

/// Larger documents pass and are not kept, in bytes as they come: the OpenAPI of a whole server in one piece is one.
const LIMIT: usize = 1 << 20;
/// Documents may be lost to a power cut for as long as this: they are fetched again.
const SYNC_WINDOW: Duration = Duration::from_secs(300);

/// A document as it is kept.
struct Document {
    kind: String,
    tag: String,
    coding: String,
    body: Bytes,
}

impl Document {
    fn decode(stored: Vec<u8>) -> Option<Self> {
        let mut lines = stored.splitn(4, |byte| *byte == b'\n');
        let mut line = || String::from_utf8(lines.next()?.to_vec()).ok();
        let (kind, tag, coding) = (line()?, line()?, line()?);
        let head = kind.len() + tag.len() + coding.len() + 3;
        let body = Bytes::from(stored).slice(head..);
        Some(Self {
            kind,
            tag,
            coding,
            body,
        })
    }

    fn encode(&self) -> Vec<u8> {
        let head = format!("{}\n{}\n{}\n", self.kind, self.tag, self.coding);
        [head.as_bytes(), &self.body].concat()
    }

    /// The answer to a request that takes gzip or not, and that may hold the document already.
    fn response(self, takes_gzip: bool, held: &str) -> Response {
        let mut response = reply::with_body(StatusCode::OK, "application/json", Body::empty());
        if !self.tag.is_empty() {
            if let Ok(tag) = HeaderValue::from_str(&self.tag) {
                response.headers.insert("etag", tag);
            }
            if names(held, &self.tag) {
                response.status = StatusCode::NOT_MODIFIED;
                response.headers.remove("content-type");
                return response;
            }
        }
        for (name, value) in [("content-type", &self.kind), ("vary", &"Accept".to_owned())] {
            if let Ok(value) = HeaderValue::from_str(value) {
                response.headers.insert(name, value);
            }
        }
        response.body = if self.coding.is_empty() {
            Body::full(self.body)
        } else if takes_gzip {
            let coding = HeaderValue::from_static("gzip");
            response.headers.insert("content-encoding", coding);
            Body::full(self.body)
        } else {
            inflated(Body::full(self.body))
        };
        response
    }
}

/// Whether an `If-None-Match` names the tag (RFC 9110, 13.1.2: weakly).
fn names(held: &str, tag: &str) -> bool {
    let strong = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    held.trim() == "*" || held.split(',').any(|one| strong(one) == strong(tag))
}

/// Answers a request for a document.
pub async fn document(agent: &Rc<Agent>, asked: &Asked, mut request: Request) -> Response {
    let place = Place::new(asked, &request);
    let takes_gzip = list::accepts_gzip(&request);
    let wanted = joined(&request.headers, "if-none-match");
    let held = place.find(agent);
    if agent.upstream.health() == Health::Unhealthy {
        return cut_off(agent, asked, held, takes_gzip, &wanted);
    }
    let gzip = HeaderValue::from_static("gzip");
    request.headers.insert("accept-encoding", gzip);
    if let Some((document, _)) = held.as_ref().filter(|_| wanted.is_empty())
        && let Ok(tag) = HeaderValue::from_str(&document.tag)
        && !tag.is_empty()
    {
        request.headers.insert("if-none-match", tag);
    }
    let mut response = match forward::send(agent, asked, request).await {
        Ok(response) => response,
        Err(Failure::Unreachable) => return cut_off(agent, asked, held, takes_gzip, &wanted),
        Err(Failure::Answered(response)) => return response,
    };
    match (response.status, held) {
        // What was asked for by our own tag; a client's tag has its own answer.
        (StatusCode::NOT_MODIFIED, Some((document, log))) if wanted.is_empty() => {
            log.fresh(process::unix_time());
            document.response(takes_gzip, &wanted)
        }
        (StatusCode::OK, held) => {
            let field = |name: &str| {
                let value = response.headers.get(name).map(HeaderValue::to_str);
                value.and_then(Result::ok).unwrap_or_default().to_owned()
            };
            let (kind, tag, coding) = (
                field("content-type"),
                field("etag"),
                field("content-encoding"),
            );
            let body = std::mem::replace(&mut response.body, Body::empty());
            match whole(body, None, LIMIT).await {
                Whole::Bytes(body) => {
                    let document = Document {
                        kind,
                        tag,
                        coding,
                        body,
                    };
                    if !matches!(&document.coding[..], "" | "gzip") {
                        response.body = Body::full(document.body);
                        return response;
                    }
                    let known = held.map(|(held, _)| held.encode());
                    let stored = document.encode();
                    if known.as_deref() != Some(&stored)
                        && let Err(error) = place.keep(agent, &stored).await
                    {
                        log::warn!("a document is not kept: {error} path={}", asked.path());
                    }
                    document.response(takes_gzip, &wanted)
                }
                Whole::Large(body) => {
                    if coding == "gzip" && !takes_gzip {
                        response.headers.remove("content-encoding");
                        response.headers.remove("content-length");
                        response.body = inflated(body);
                    } else {
                        response.body = body;
                    }
                    response
                }
                Whole::Cut => cut_off(agent, asked, held, takes_gzip, &wanted),
            }
        }
        _ => response,
    }
}

/// The answer without the cloud.
fn cut_off(
    agent: &Agent,
    asked: &Asked,
    held: Option<(Document, Rc<Log>)>,
    takes_gzip: bool,
    wanted: &str,
) -> Response {
    match held {
        Some((document, log)) => {
            agent.tally().answered(asked.verb(), By::Mirror);
            let mut response = document.response(takes_gzip, wanted);
            reply::aged(&mut response, offline::age(&log));
            response
        }
        None => agent.cut_off(asked),
    }
}

/// A body that comes in gzip, for a client that does not take it.
fn inflated(mut body: Body) -> Body {
    Body::generate(move |mut sink| async move {
        let wrong = |error: &dyn std::fmt::Display| Error::upstream("inflate a document", error);
        let mut gunzip = Gunzip::new();
        while let Some(chunk) = body.next().await {
            let chunk = chunk?;
            let mut rest = &chunk[..];
            while !rest.is_empty() {
                let mut plain = Vec::new();
                let used = gunzip
                    .step(rest, &mut plain)
                    .map_err(|error| wrong(&error))?;
                rest = rest.get(used..).unwrap_or_default();
                sink.send(Bytes::from(plain)).await;
            }
        }
        gunzip.finish().map_err(|error| wrong(&error))
    })
}

/// Where a document is kept.
struct Place {
    collection: Collection,
    key: ObjectKey,
}

impl Place {
    fn new(asked: &Asked, request: &Request) -> Self {
        let (path, query) = request
            .target
            .split_once('?')
            .unwrap_or((&request.target, ""));
        let query: Vec<&str> = query
            .split('&')
            .filter(|pair| !pair.is_empty() && !pair.starts_with("timeout="))
            .collect();
        let name = format!(
            "{path}?{}\n{}",
            query.join("&"),
            joined(&request.headers, "accept")
        );
        Self {
            collection: collection(asked.credential()),
            key: ObjectKey::new("", &crypto::sha256_hex(name.as_bytes())),
        }
    }

    fn find(&self, agent: &Agent) -> Option<(Document, Rc<Log>)> {
        let log = agent.mirror.find(&self.collection)?;
        match log.lookup(&self.key) {
            Ok(Lookup::Found(stored)) => Some((Document::decode(stored.object)?, log)),
            Ok(Lookup::Absent | Lookup::Unknown) => None,
            Err(error) => {
                log::warn!("a document can't be read: {error}");
                None
            }
        }
    }

    /// Adds the document to the log; the first one begins it.
    async fn keep(&self, agent: &Agent, stored: &[u8]) -> Result<(), mirror::Error> {
        if agent.followers.rests(&self.collection) {
            return Ok(());
        }
        let log = agent.mirror.ensure(&self.collection, SYNC_WINDOW)?;
        // Somebody else is just writing one: this one is kept the next time.
        let Some(mut writer) = log.writer() else {
            return Ok(());
        };
        log.fresh(process::unix_time());
        let kept = writer.add(&type_meta(), &self.key, stored).await;
        if let Err(error) = &kept {
            agent.followers.rest(&self.collection, error);
        }
        kept
    }
}

/// What the resource of the documents' collections is called. No target has a slash within a resource's name.
const RESOURCE: &str = "documents/";

/// Whether a collection is one of documents.
pub fn is_documents(collection: &Collection) -> bool {
    collection.resource.resource == RESOURCE
}

/// The collection of all documents that were fetched with one right.
fn collection(credential: &Credential) -> Collection {
    Collection {
        resource: GroupVersionResource::new("", "", RESOURCE),
        namespace: None,
        labels: Default::default(),
        fields: Default::default(),
        encoding: Default::default(),
        credential: credential.clone(),
    }
}

fn type_meta() -> TypeMeta {
    TypeMeta {
        kind: "Document".to_owned(),
        api_version: "toono".to_owned(),
        typed: false,
        encoding: Default::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_what_came() {
        let document = || Document {
            kind: "application/json".into(),
            tag: "\"A1\"".into(),
            coding: String::new(),
            body: Bytes::from_static(b"{\n}\n"),
        };
        let again = Document::decode(document().encode()).expect("three lines");
        assert_eq!(again.encode(), document().encode());
        assert_eq!(&again.body[..], b"{\n}\n");
        assert!(Document::decode(b"one\ntwo".to_vec()).is_none());
        let status = |held: &str| document().response(true, held).status;
        assert_eq!(status(""), StatusCode::OK);
        assert_eq!(status("\"B2\""), StatusCode::OK);
        assert_eq!(status("\"B2\", W/\"A1\""), StatusCode::NOT_MODIFIED);
    }
}
