//! Feeding a log from the server, once: a list if one is needed, then a watch until it ends.
//!
//! Upstream it is a list and a watch, even for clients that ask for both in one stream (WatchList): a list comes gzipped,
//! a watch stream does not before Kubernetes 1.37, and on the line that is 15 times the bytes.

use std::rc::Rc;
use std::time::Duration;
use std::time::Instant;

use smol::Timer;
use smol::future::FutureExt;
use smol::lock::Semaphore;

use crate::io::gzip::Gunzip;
use crate::io::http::Body;
use crate::io::http::HeaderMap;
use crate::io::http::HeaderValue;
use crate::io::http::Request;
use crate::io::http::Response;
use crate::io::http::StatusCode;
use crate::io::process;
use crate::k8s::collection::Collection;
use crate::k8s::encoding::Encoding;
use crate::k8s::object::ResourceVersion;
use crate::k8s::status::Status;
use crate::role::agent::forward;
use crate::role::agent::reply;
use crate::role::agent::tally::Cause;
use crate::state::mirror;
use crate::state::mirror::Log;
use crate::state::mirror::TypeMeta;
use crate::state::mirror::Writer;
use crate::state::upstream::Upstream;
use crate::wire::error::Error as Unreadable;
use crate::wire::list::ListDecoder;
use crate::wire::list::OBJECT_LIMIT;
use crate::wire::list::Part;
use crate::wire::object;
use crate::wire::request::percent_encode;
use crate::wire::status;
use crate::wire::watch::Event;
use crate::wire::watch::EventType;
use crate::wire::watch::WatchDecoder;

/// How long a watch must be quiet after its answer's head to be taken for up to date, and how long it has at the most.
/// The server sends what it has right behind the head.
const SETTLED: Duration = Duration::from_millis(100);
const SETTLES_WITHIN: Duration = Duration::from_secs(1);
/// A watch that ends sooner, with nothing in it, is not opened again at once.
const SHORT: Duration = Duration::from_secs(1);
/// The largest error answer that is kept for readers.
const ANSWER_LIMIT: usize = 64 << 10;

/// How many logs are brought up at once. Lists are few, for they take memory; watches are many, for on a slow line each takes
/// a round trip, but not all: a burst of a thousand makes the API server's fairness answer 429.
pub struct Pace {
    lists: Semaphore,
    watches: Semaphore,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            lists: Semaphore::new(3),
            watches: Semaphore::new(32),
        }
    }
}

/// Where a log is fed from.
pub struct Feed<'a> {
    /// The server.
    pub upstream: &'a Upstream,
    /// The collection.
    pub collection: &'a Collection,
    /// Its log.
    pub log: &'a Rc<Log>,
    /// The headers that say who asks.
    pub identity: HeaderMap,
    /// Called when the log has come up to date.
    pub live: &'a dyn Fn(),
    /// Called when a list of our own was taken in, with why.
    pub listed: &'a dyn Fn(Cause),
}

/// How feeding ended.
pub enum End {
    /// The server ended the watch.
    Over {
        /// It was too short and too empty to be opened again at once.
        short: bool,
    },
    /// The line went.
    Lost,
    /// The server's history does not reach back to the log.
    Expired,
    /// The server answered something else.
    Refused(Answer),
    /// What came can't be read.
    Broken(Unreadable),
    /// The flash failed.
    Flash(mirror::Error),
}

/// The server answered in a form that nobody asked it for.
const UNREADABLE: End = End::Broken(Unreadable::Malformed {
    at: 0,
    what: "the answer is neither JSON nor protobuf",
});

impl From<mirror::Error> for End {
    fn from(error: mirror::Error) -> Self {
        Self::Flash(error)
    }
}

impl From<Unreadable> for End {
    fn from(error: Unreadable) -> Self {
        Self::Broken(error)
    }
}
/// An error answer of the cloud, kept for those who wait for the same.
#[derive(Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    content_type: Option<HeaderValue>,
    retry_after: Option<HeaderValue>,
    body: Vec<u8>,
}

impl Feed<'_> {
    /// A list if one is needed, then a watch until it ends.
    /// A list is needed when the log was never complete, and when `relist` says so; that is taken back once it is done.
    pub async fn run(&self, pace: &Pace, relist: &mut bool) -> End {
        let Self {
            collection, log, ..
        } = self;
        // The writer first: a client's list that is just filling the log saves ours.
        let mut writer = log.writer_wait().await;
        if *relist || log.complete().is_none() {
            let _permit = pace.lists.acquire().await;
            // Boxed: it is rare, and what waits on a quiet watch should not carry its size.
            if let Err(end) = Box::pin(self.fill(&mut writer)).await {
                return end;
            }
            (self.listed)(if *relist {
                Cause::Expired
            } else {
                Cause::First
            });
            *relist = false;
        }
        let permit = pace.watches.acquire().await;
        let Some(version) = log.ahead() else {
            return End::Expired;
        };
        let target = format!(
            "{}?allowWatchBookmarks=true{}&resourceVersion={version}&watch=true",
            collection.path(),
            selectors(collection)
        );
        let request = forward::own_request(target, collection.encoding, &self.identity);
        let mut response = match Box::pin(self.ask(request)).await {
            Ok(response) => response,
            Err(end) => return end,
        };
        drop(permit);
        let Some(encoding) = forward::encoding(&response) else {
            return UNREADABLE;
        };
        self.watch(&mut writer, encoding, &mut response.body).await
    }

    /// Lists the collection into the log.
    async fn fill(&self, writer: &mut Writer) -> Result<(), End> {
        let Self {
            collection, log, ..
        } = self;
        let query = selectors(collection);
        let target = match query.strip_prefix('&') {
            Some(query) => format!("{}?{query}", collection.path()),
            None => collection.path(),
        };
        let mut request = forward::own_request(target, collection.encoding, &self.identity);
        request
            .headers
            .insert("accept-encoding", HeaderValue::from_static("gzip"));
        let mut response = self.ask(request).await?;
        let mut gunzip = response
            .headers
            .contains_key("content-encoding")
            .then(Gunzip::new);
        let encoding = forward::encoding(&response).ok_or(UNREADABLE)?;
        let mut decoder = ListDecoder::new(encoding, OBJECT_LIMIT);
        let mut plain = Vec::new();
        writer.begin(None)?;
        while let Some(chunk) = response.body.next().await {
            let chunk = chunk.map_err(|_| End::Lost)?;
            match &mut gunzip {
                None => take_items(&mut decoder, &chunk, writer).await?,
                Some(gunzip) => {
                    let mut rest = &chunk[..];
                    while !rest.is_empty() {
                        plain.clear();
                        let used = gunzip.step(rest, &mut plain).map_err(|_| End::Lost)?;
                        rest = &rest[used..];
                        take_items(&mut decoder, &plain, writer).await?;
                    }
                }
            }
        }
        gunzip
            .as_ref()
            .map_or(Ok(()), Gunzip::finish)
            .map_err(|_| End::Lost)?;
        let meta = decoder.finish()?;
        let (Some(version), Some(kind)) = (meta.resource_version, meta.kind.strip_suffix("List"))
        else {
            return Err(End::Broken(Unreadable::malformed(
                "the list has no version or no kind",
            )));
        };
        if log.ahead().is_some_and(|known| version < known) {
            log::warn!(
                "{collection}: the server's versions went back to {version}; the mirror starts anew"
            );
            writer.reset()?;
            (self.listed)(Cause::Restored);
            return Err(End::Expired);
        }
        log.fresh(process::unix_time());
        writer
            .commit(version, &TypeMeta::of_list(kind, &meta, encoding))
            .await?;
        Ok(())
    }

    /// One exchange of our own; anything but 200 is an end.
    async fn ask(&self, request: Request) -> Result<Response, End> {
        let mut response = match self.upstream.send(request).await {
            Ok(response) => response,
            Err(_) => return Err(End::Lost),
        };
        if forward::is_gateway_page(response.status, &response.headers) {
            // Its page must not reach clients. What is complete is served all the same.
            let status = Status::unavailable(
                "something between this node and the API server answers in its place",
            );
            let encoding = self.collection.encoding;
            return Err(End::Refused(Answer {
                status: StatusCode::SERVICE_UNAVAILABLE,
                content_type: Some(HeaderValue::from_static(encoding.media_type())),
                retry_after: None,
                body: status::encode(encoding, &status),
            }));
        }
        match response.status {
            StatusCode::OK => Ok(response),
            StatusCode::GONE => Err(End::Expired),
            _ => Err(Answer::read(&mut response)
                .await
                .map_or(End::Lost, End::Refused)),
        }
    }

    /// Feeds the log from a running watch until it ends.
    async fn watch(&self, writer: &mut Writer, encoding: Encoding, body: &mut Body) -> End {
        let opened = Instant::now();
        let from = self.log.ahead().unwrap_or_default();
        let mut decoder = WatchDecoder::new(encoding, OBJECT_LIMIT);
        let mut settling = true;
        let mut empty = true;
        loop {
            let chunk = if settling {
                let pause = SETTLED.min(SETTLES_WITHIN.saturating_sub(opened.elapsed()));
                let quiet = async {
                    Timer::after(pause).await;
                    None
                };
                match async { Some(body.next().await) }.or(quiet).await {
                    Some(chunk) => chunk,
                    None => {
                        settling = false;
                        (self.live)();
                        continue;
                    }
                }
            } else {
                body.next().await
            };
            let chunk = match chunk {
                Some(Ok(chunk)) => {
                    self.log.fresh(process::unix_time());
                    chunk
                }
                Some(Err(_)) => return End::Lost,
                None => {
                    return match decoder.finish() {
                        Ok(()) => End::Over {
                            short: empty && opened.elapsed() < SHORT,
                        },
                        Err(error) => End::Broken(error),
                    };
                }
            };
            if let Err(error) = decoder.push(&chunk) {
                return End::Broken(error);
            }
            loop {
                match decoder.event() {
                    Ok(Some(event)) => match apply(writer, event, from) {
                        Ok(()) => empty = false,
                        Err(end) => return end,
                    },
                    Ok(None) => break,
                    Err(error) => return End::Broken(error),
                }
            }
        }
    }
}

/// Stages the items that a list's next bytes end.
async fn take_items(
    decoder: &mut ListDecoder,
    bytes: &[u8],
    writer: &mut Writer,
) -> Result<(), End> {
    decoder.push(bytes)?;
    while let Some(part) = decoder.part()? {
        if let Part::Item(item) = part {
            let (key, version) = object::key_and_version(item)?;
            writer
                .item(&key, version, !object::has_type(item), item)
                .await?;
        }
    }
    Ok(())
}

/// One event of an upstream watch that was opened at version `from`: one from before that is of another history.
fn apply(writer: &mut Writer, event: Event<'_>, from: ResourceVersion) -> Result<(), End> {
    match event.kind {
        EventType::Bookmark => {
            let meta = object::meta(event.object)?;
            match meta.resource_version {
                Some(version) if version < from => return Err(End::Expired),
                Some(version) => writer.advance(version),
                None => {}
            }
        }
        EventType::Error => {
            let (code, reason) = object::status_code_and_reason(event.object).unwrap_or_default();
            if code == 410 || reason == "Expired" || reason == "Gone" {
                return Err(End::Expired);
            }
            let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return Err(End::Refused(Answer {
                status,
                content_type: Some(HeaderValue::from_static(
                    Encoding::of(event.object).media_type(),
                )),
                retry_after: None,
                body: event.object.to_vec(),
            }));
        }
        EventType::Added | EventType::Modified | EventType::Deleted => {
            let (key, version) = object::key_and_version(event.object)?;
            if version <= from {
                return Err(End::Expired);
            }
            let (typed, stored) = match object::without_type(event.object) {
                Some((_, _, rest)) => (true, rest),
                None => (false, event.object.into()),
            };
            if event.kind == EventType::Deleted {
                writer.delete(&key, version, typed, &stored)?;
            } else {
                writer.put(&key, version, typed, &stored)?;
            }
        }
    }
    Ok(())
}

/// The collection's selectors as they stand in a query, each with `&` before it.
fn selectors(collection: &Collection) -> String {
    let mut query = String::new();
    for (name, value) in [
        ("fieldSelector", collection.fields.to_string()),
        ("labelSelector", collection.labels.to_string()),
    ] {
        if !value.is_empty() {
            query.push_str(&format!("&{name}={}", percent_encode(&value)));
        }
    }
    query
}

impl Answer {
    async fn read(response: &mut Response) -> Option<Self> {
        let mut body = Vec::new();
        while let Some(chunk) = response.body.next().await {
            body.extend_from_slice(&chunk.ok()?);
            if body.len() > ANSWER_LIMIT {
                return None;
            }
        }
        Some(Self {
            status: response.status,
            content_type: response.headers.get("content-type").cloned(),
            retry_after: response.headers.get("retry-after").cloned(),
            body,
        })
    }

    /// The same answer again.
    pub fn response(&self) -> Response {
        let json = Encoding::Json.media_type();
        let mut response = reply::with_body(self.status, json, Body::full(self.body.clone()));
        for (name, value) in [
            ("content-type", &self.content_type),
            ("retry-after", &self.retry_after),
        ] {
            if let Some(value) = value {
                response.headers.insert(name, value.clone());
            }
        }
        response
    }

    /// What the server asks to wait, a minute at the most, else our own pace.
    pub fn pause(&self, own: Duration) -> Duration {
        let asked = self
            .retry_after
            .as_ref()
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        asked.map_or(own, |asked| {
            asked
                .min(Duration::from_secs(60))
                .max(own.min(Duration::from_secs(1)))
        })
    }
}
