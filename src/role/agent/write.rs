//! A kubelet's writes: forwarded as they came, and while the line is cut answered so that the kubelet lives through it
//! (`rule::write`, kubernetes-wire 4.3). No version is made up: what is echoed keeps the version that it came with.

use std::rc::Rc;

use crate::io::http::Body;
use crate::io::http::Bytes;
use crate::io::http::Request;
use crate::io::http::Response;
use crate::io::http::StatusCode;
use crate::k8s::collection::Collection;
use crate::k8s::encoding::Encoding;
use crate::k8s::object::ObjectKey;
use crate::k8s::selector::FieldSelector;
use crate::k8s::selector::LabelSelector;
use crate::k8s::status::Status;
use crate::role::agent::Agent;
use crate::role::agent::asked::Asked;
use crate::role::agent::asked::joined;
use crate::role::agent::forward;
use crate::role::agent::forward::Failure;
use crate::role::agent::get;
use crate::role::agent::offline;
use crate::role::agent::reply;
use crate::role::agent::whole::Whole;
use crate::role::agent::whole::whole;
use crate::rule::health::Health;
use crate::rule::write::Write;
use crate::wire::json::object::patched;
use crate::wire::object;
use crate::wire::request::ResourceRequest;

/// Larger requests and answers pass, and are refused while cut off: a node's status is the largest, some 50 KB.
const LIMIT: usize = 256 << 10;

/// Answers a write.
pub async fn write(
    agent: &Rc<Agent>,
    asked: &Asked,
    write: Write,
    mut request: Request,
) -> Response {
    let Some(resource) = asked.resource() else {
        return forward::forward(agent, asked, request).await;
    };
    // Read before it is sent, since the line may go while it is.
    let body = std::mem::replace(&mut request.body, Body::empty());
    let body = match whole(body, None, LIMIT).await {
        Whole::Bytes(body) => body,
        Whole::Large(body) => {
            request.body = body;
            return forward::forward(agent, asked, request).await;
        }
        Whole::Cut => {
            let status = Status::bad_request("the body broke off");
            return reply::status(asked.status(), &status);
        }
    };
    // What it can be sent with once more; the body is given to both.
    let again = request.again();
    request.body = Body::full(body.clone());
    let written = Written {
        asked,
        resource,
        encoding: Encoding::named(&joined(&request.headers, "content-type")),
        body,
    };
    if write == Write::PodStatus {
        written.tell(agent);
    }
    if agent.upstream.health() == Health::Unhealthy {
        return written.cut_off(agent, write, again);
    }
    match forward::send(agent, asked, request).await {
        Ok(response) => written.remembered(agent, write, response).await,
        Err(Failure::Unreachable) => written.cut_off(agent, write, again),
        Err(Failure::Answered(response)) => response,
    }
}

/// A write that was read.
struct Written<'a> {
    asked: &'a Asked,
    resource: &'a ResourceRequest,
    /// Of its body; `None` for a patch and whatever else is no object.
    encoding: Option<Encoding>,
    body: Bytes,
}

impl Written<'_> {
    /// The answer without the cloud.
    fn cut_off(&self, agent: &Agent, write: Write, again: Option<Request>) -> Response {
        let answer = match write {
            Write::Lease => self.echo(StatusCode::OK),
            Write::NodeStatus => self.node(agent),
            Write::NewNode | Write::NewLease => Err(self.exists(agent)),
            Write::Event | Write::ChangedEvent => self.hold(agent, write, again),
            Write::PodStatus => {
                self.tell(agent);
                Err(offline::refused(self.asked))
            }
            Write::CsiNode | Write::Other => Err(offline::refused(self.asked)),
        };
        agent.answer_here(self.asked, answer)
    }

    /// A pod's status, to who shows its endpoints.
    fn tell(&self, agent: &Agent) {
        if let Some(name) = &self.resource.name {
            let (credential, key) = (self.asked.credential(), self.key(name));
            agent.live.told(credential, &key, &self.body);
        }
    }

    /// What was said, as the answer: what is written stands at the version that it stood at.
    fn echo(&self, code: StatusCode) -> Result<Response, Status> {
        let encoding = self.encoding.ok_or_else(|| offline::refused(self.asked))?;
        if self.asked.shape(encoding).is_none() {
            return Err(offline::not_acceptable(encoding));
        }
        Ok(reply::with_body(
            code,
            encoding.media_type(),
            Body::full(self.body.clone()),
        ))
    }

    /// The node as it is held.
    fn node(&self, agent: &Agent) -> Result<Response, Status> {
        let name = self.resource.name.as_deref().unwrap_or_default();
        let collection = self.collection(name, Encoding::default());
        let (response, _) = offline::one(agent, self.asked, &collection, name)?;
        Ok(response)
    }

    /// That the object is there already; that nobody can tell when it is not held.
    fn exists(&self, agent: &Agent) -> Status {
        let Some(name) = self.encoding.and_then(|_| object::name(&self.body)) else {
            return offline::refused(self.asked);
        };
        let collection = self.collection(&name, Encoding::default());
        if offline::holds(agent, &collection, &self.key(&name)) {
            Status::already_exists(&collection.resource, &name)
        } else {
            offline::refused(self.asked)
        }
    }

    /// An event that is held back until the line is there again. It is as good as written: an event that is refused is lost.
    fn hold(
        &self,
        agent: &Agent,
        write: Write,
        again: Option<Request>,
    ) -> Result<Response, Status> {
        let answer = match (write, self.resource.name.as_deref()) {
            (Write::ChangedEvent, Some(name)) => {
                let resource = &self.resource.resource;
                let namespace = self.resource.namespace.as_deref().unwrap_or_default();
                // A patch in JSON; its members are the event's, those that changed.
                let api_version = resource.api_version();
                let event = patched(&self.body, "Event", &api_version, namespace, name)
                    .filter(|_| self.asked.shape(Encoding::Json).is_some())
                    .ok_or_else(|| offline::refused(self.asked))?;
                let json = Encoding::Json.media_type();
                reply::with_body(StatusCode::OK, json, Body::full(event))
            }
            _ => self.echo(StatusCode::CREATED)?,
        };
        if let Some(head) = again {
            agent.held.hold(head, self.body.clone());
        }
        Ok(answer)
    }

    /// Keeps what a kubelet asks for when it starts and would not ask for before: its lease as it was first seen (it is
    /// renewed every ten seconds, and flash is not for that), and its `CSINode`.
    async fn remembered(&self, agent: &Agent, write: Write, mut response: Response) -> Response {
        let first = match write {
            Write::Lease | Write::NewLease => true,
            Write::CsiNode => false,
            _ => return response,
        };
        let encoding = joined(&response.headers, "content-type");
        let coded = response.headers.contains_key("content-encoding");
        let (Some(encoding), true, false) = (
            Encoding::named(&encoding),
            matches!(response.status, StatusCode::OK | StatusCode::CREATED),
            coded,
        ) else {
            return response;
        };
        if let Some(name) = &self.resource.name
            && first
            && offline::holds(agent, &self.collection(name, encoding), &self.key(name))
        {
            return response;
        }
        let body = std::mem::replace(&mut response.body, Body::empty());
        match whole(body, None, LIMIT).await {
            Whole::Bytes(object) => {
                if let Some(name) = object::name(&object) {
                    let collection = self.collection(&name, encoding);
                    let kept = get::remember(agent, &collection, None, encoding, &object).await;
                    if let Err(error) = kept {
                        log::warn!("{collection} is not mirrored: {error}");
                    }
                }
                response.body = Body::full(object);
            }
            Whole::Large(body) => response.body = body,
            // Written it is; what the answer was the client learns when it asks.
            Whole::Cut => {
                return reply::status(self.asked.status(), &offline::refused(self.asked));
            }
        }
        response
    }

    fn key(&self, name: &str) -> ObjectKey {
        ObjectKey::new(self.resource.namespace.as_deref().unwrap_or_default(), name)
    }

    /// The collection of the object of that name.
    fn collection(&self, name: &str, encoding: Encoding) -> Collection {
        Collection {
            resource: self.resource.resource.clone(),
            namespace: self.resource.namespace.clone(),
            labels: LabelSelector::default(),
            fields: FieldSelector::name(name),
            encoding,
            credential: self.asked.credential().clone(),
        }
    }
}
