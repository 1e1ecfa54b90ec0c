//! A watch that is not mirrored (leases, events, Tables, metadata only): it passes through the filters, and is taken up again
//! where it was when the line is back, so that the client does not see that it was cut.
//!
//! What can't be read here (YAML) passes as it comes, and ends with the line.

use std::rc::Rc;

use smol::Timer;

use crate::io::http::Body;
use crate::io::http::Bytes;
use crate::io::http::Error;
use crate::io::http::Request;
use crate::io::http::Response;
use crate::io::http::Sink;
use crate::io::http::StatusCode;
use crate::io::process;
use crate::k8s::collection::Collection;
use crate::k8s::encoding::Encoding;
use crate::k8s::object::ResourceVersion;
use crate::k8s::status::Status;
use crate::role::agent::Agent;
use crate::role::agent::asked::Asked;
use crate::role::agent::follow::BACKOFF;
use crate::role::agent::forward;
use crate::role::agent::forward::Failure;
use crate::rule::health::Health;
use crate::wire::error::Error as Unreadable;
use crate::wire::list::OBJECT_LIMIT;
use crate::wire::object;
use crate::wire::request;
use crate::wire::watch;
use crate::wire::watch::EventType;
use crate::wire::watch::WatchDecoder;

/// Opens the watch.
pub async fn watch(agent: &Rc<Agent>, asked: &Asked, mut request: Request) -> Response {
    let Some(collection) = asked.collection().cloned() else {
        return agent.cut_off(asked);
    };
    if !agent.chain.is_empty() {
        forward::ask_for_readable(asked, &mut request);
    }
    request.headers.remove("accept-encoding");
    let again = request.again();
    let mut response = match forward::send(agent, asked, request).await {
        Ok(response) => response,
        Err(Failure::Unreachable) => return agent.cut_off(asked),
        Err(Failure::Answered(response)) => return response,
    };
    let Some(encoding) = forward::encoding(&response) else {
        return response;
    };
    let options = asked.options();
    let version = options
        .resource_version
        .as_deref()
        .and_then(ResourceVersion::parse)
        .filter(|version| *version != ResourceVersion(0));
    let passing = Passing {
        agent: Rc::clone(agent),
        collection,
        encoding,
        again,
        // The objects that are there come in any order of versions: where that is broken off nothing can be taken up.
        initial: options.send_initial_events == Some(true) || version.is_none(),
        told: version.unwrap_or_default(),
    };
    let body = std::mem::replace(&mut response.body, Body::empty());
    response.body = Body::generate(move |sink| passing.run(body, sink));
    response
}

/// A watch on its way through.
struct Passing {
    agent: Rc<Agent>,
    collection: Collection,
    encoding: Encoding,
    again: Option<Request>,
    initial: bool,
    told: ResourceVersion,
}

impl Passing {
    async fn run(mut self, mut body: Body, mut sink: Sink) -> Result<(), Error> {
        loop {
            let Err(error) = self.pass(&mut body, &mut sink).await else {
                return Ok(());
            };
            if self.initial || !error.is_upstream() {
                return Err(error);
            }
            log::debug!(
                "{}: taken up again at {}: {error}",
                self.collection,
                self.told
            );
            body = match self.take_up().await {
                Ok(Some(body)) => body,
                Ok(None) => return Err(error),
                Err(end) => {
                    sink.send(Bytes::from(end)).await;
                    return Ok(());
                }
            };
        }
    }

    /// Passes events on until the server ends the watch, or the line does.
    async fn pass(&mut self, body: &mut Body, sink: &mut Sink) -> Result<(), Error> {
        let broken = |error: Unreadable| Error::local("read the watch", &error);
        let mut decoder = WatchDecoder::new(self.encoding, OBJECT_LIMIT);
        while let Some(chunk) = body.next().await {
            decoder.push(&chunk?).map_err(broken)?;
            let mut out = Vec::new();
            while let Some(event) = decoder.event().map_err(broken)? {
                let passes = match event.kind {
                    EventType::Bookmark => {
                        self.initial = false;
                        true
                    }
                    EventType::Error => true,
                    EventType::Added | EventType::Modified | EventType::Deleted => {
                        object::shown_key(event.object).is_none_or(|key| {
                            self.agent
                                .chain
                                .admits(&self.collection, &key, event.object)
                        })
                    }
                };
                if passes {
                    watch::encode(self.encoding, event.kind, event.object, &mut out);
                }
                if let Ok(meta) = object::meta(event.object)
                    && let Some(version) = meta.resource_version
                {
                    self.told = self.told.max(version);
                }
            }
            if !out.is_empty() {
                sink.send(Bytes::from(out)).await;
            }
        }
        decoder
            .finish()
            .map_err(|error| Error::upstream("read the watch", &error))
    }

    /// The watch from where it was, once the line is back; none when the request can't be sent twice; an event to end with
    /// when the server does not want to.
    async fn take_up(&self) -> Result<Option<Body>, Vec<u8>> {
        let upstream = &self.agent.upstream;
        for attempt in 0.. {
            while upstream.health() != Health::Healthy {
                upstream.changed().await;
            }
            let Some(mut request) = self.again.as_ref().and_then(Request::again) else {
                return Ok(None);
            };
            request.target = request::resumed(&request.target, self.told);
            match upstream.send(request).await {
                Ok(response) if forward::encoding(&response) == Some(self.encoding) => {
                    return Ok(Some(response.body));
                }
                Ok(response)
                    if response.status.is_client_error()
                        && response.status != StatusCode::TOO_MANY_REQUESTS =>
                {
                    let status = Status::expired(&format!(
                        "too old resource version: {} (the line was cut; list again)",
                        self.told
                    ));
                    return Err(watch::error(self.encoding, &status));
                }
                Ok(_) | Err(_) => {
                    Timer::after(BACKOFF.delay(attempt, process::random())).await;
                }
            }
        }
        Ok(None)
    }
}
