//! What the fake server says: request in, answer out, as kube-apiserver 1.36 was recorded to answer.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use serde_json::json;

use super::form;
use super::form::Form;
use super::form::Shape;
use super::form::metadata_of;
use super::form::table;
use super::kind::KINDS;
use super::kind::Kind;
use super::kind::Place;
use super::kind::place;
use super::selector::Fields;
use super::selector::Labels;
use super::store::Filter;
use super::store::Happened;
use super::store::Store;
use super::write;

/// A request, taken apart.
pub struct Ask {
    /// The method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// Decoded parameters in their order.
    pub query: Vec<(String, String)>,
    /// `Accept`, or empty.
    pub accept: String,
    /// Whether `Accept-Encoding` names gzip, and the server has it.
    pub gzip: bool,
    /// `Content-Type`, or empty.
    pub content_type: String,
    /// `If-None-Match`, or empty.
    pub if_none_match: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Ask {
    /// The first parameter of this name; empty ones count as absent, as Kubernetes has it.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(key, _)| key == name);
        found
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    fn flag(&self, name: &str) -> bool {
        self.query
            .iter()
            .any(|(key, value)| key == name && value != "false" && value != "0")
    }

    /// Whether this is a watch: a GET of a collection that asks for one.
    pub fn is_watch(&self) -> bool {
        self.method == "GET" && self.flag("watch") && self.collection().is_some()
    }

    /// Whether this is a list.
    pub fn is_list(&self) -> bool {
        self.method == "GET" && !self.flag("watch") && self.collection().is_some()
    }

    /// The form of the answer; `None` if nothing that is accepted can be made.
    pub fn form(&self) -> Option<Form> {
        let custom = matches!(place(&self.path), Place::Resource { kind, .. } if kind.custom);
        Form::negotiated(&self.accept, custom)
    }

    fn collection(&self) -> Option<&'static Kind> {
        match place(&self.path) {
            Place::Resource {
                kind, name: None, ..
            } => Some(kind),
            _ => None,
        }
    }
}

/// A complete answer.
#[derive(Clone)]
pub struct Whole {
    /// The status code.
    pub status: u16,
    /// Headers beyond the usual ones.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Whole {
    /// An answer in JSON.
    pub fn json(status: u16, body: String) -> Self {
        Self {
            status,
            headers: vec![("content-type", "application/json".into())],
            body: body.into_bytes(),
        }
    }

    /// An answer in plain text.
    pub fn text(status: u16, body: &str) -> Self {
        Self {
            status,
            headers: vec![("content-type", "text/plain; charset=utf-8".into())],
            body: body.into(),
        }
    }
}

/// How a watch is to run.
pub struct WatchPlan {
    /// What it selects.
    pub filter: Filter,
    /// The version it starts after.
    pub after: u64,
    /// Events to send first.
    pub first: Vec<Vec<u8>>,
    /// Whether to end after those.
    pub ends: bool,
    /// Whether bookmarks are wanted.
    pub bookmarks: bool,
    /// When to end.
    pub timeout: Duration,
    /// The store's epoch at the start.
    pub epoch: u64,
    /// In which form.
    pub form: Form,
}

/// An answer.
pub enum Reply {
    /// A complete one.
    Whole(Whole),
    /// A stream.
    Watch(Box<WatchPlan>),
    /// What a container says, as it says it.
    Log,
}

/// A Status that tells of a failure.
pub fn failure(code: u16, reason: &str, message: &str, details: Option<Value>) -> Whole {
    let mut status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
    });
    if !reason.is_empty() {
        status["reason"] = json!(reason);
    }
    if let Some(details) = details {
        status["details"] = details;
    }
    status["code"] = json!(code);
    Whole::json(code, format!("{status}\n"))
}

/// The 404 of an object.
pub fn not_found(kind: &Kind, name: &str) -> Whole {
    let message = format!("{} \"{name}\" not found", kind.qualified());
    failure(404, "NotFound", &message, Some(details(kind, name)))
}

/// The details of a Status about an object.
pub fn details(kind: &Kind, name: &str) -> Value {
    let mut details = json!({"name": name});
    if !kind.group.is_empty() {
        details["group"] = json!(kind.group);
    }
    details["kind"] = json!(kind.resource);
    details
}

fn too_large(wanted: u64, current: u64) -> Whole {
    let message = format!("Timeout: Too large resource version: {wanted}, current: {current}");
    let details = json!({
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    });
    let mut answer = failure(504, "Timeout", &message, Some(details));
    answer.headers.push(("retry-after", "1".into()));
    answer
}

/// Answers one request, in the first form that is accepted.
pub fn answer(store: &mut Store, ask: &Ask, watch_list: bool) -> Reply {
    match in_json(store, ask, watch_list) {
        Reply::Whole(whole) => Reply::Whole(ask.form().map_or_else(
            || Form::of_refusal(&ask.accept).sealed(&whole),
            |form| form.sealed(&whole),
        )),
        other => other,
    }
}

fn in_json(store: &mut Store, ask: &Ask, watch_list: bool) -> Reply {
    let (kind, namespace, name, subresource) = match place(&ask.path) {
        Place::Other => return Reply::Whole(other(ask)),
        Place::UnknownResource => {
            let message = "the server could not find the requested resource";
            return Reply::Whole(failure(404, "NotFound", message, Some(json!({}))));
        }
        Place::Resource {
            kind,
            namespace,
            name,
            subresource,
        } => (kind, namespace, name, subresource),
    };
    let Some(form) = Form::negotiated(&ask.accept, kind.custom) else {
        let message = "only the following media types are accepted: application/json, application/yaml, \
                       application/vnd.kubernetes.protobuf";
        return Reply::Whole(failure(406, "NotAcceptable", message, None));
    };
    match (ask.method.as_str(), name) {
        ("GET", None) if ask.is_watch() => {
            watch(store, ask, kind, namespace, form, watch_list).unwrap_or_else(Reply::Whole)
        }
        ("GET", None) => {
            Reply::Whole(list(store, ask, kind, namespace, form).unwrap_or_else(|fault| fault))
        }
        ("GET", Some(_)) if subresource == "log" && ask.flag("follow") => Reply::Log,
        ("GET", Some(name)) => {
            Reply::Whole(get(store, kind, &namespace, &name, &subresource, form))
        }
        (_, name) => Reply::Whole(write::answer(
            store,
            ask,
            kind,
            &namespace,
            name,
            &subresource,
        )),
    }
}

fn get(
    store: &Store,
    kind: &Kind,
    namespace: &str,
    name: &str,
    subresource: &str,
    form: Form,
) -> Whole {
    let Some(object) = store.find(kind, namespace, name) else {
        return not_found(kind, name);
    };
    match (subresource, form) {
        ("log", _) => Whole::text(200, "line 1\nline 2\n"),
        (_, form) if form.shape == Shape::Table => Whole::json(
            200,
            format!("{}\n", table(&[object.whole()], object.version)),
        ),
        (_, form) if form.shape == Shape::Metadata => Whole::json(
            200,
            format!("{}\n", metadata_of(&object.whole()).unwrap_or_default()),
        ),
        _ => Whole::json(200, format!("{}\n", object.whole())),
    }
}

/// The selectors of a list or watch.
pub fn filter_of(ask: &Ask, kind: &'static Kind, namespace: String) -> Result<Filter, Whole> {
    let bad = |message: String| failure(400, "BadRequest", &message, None);
    let labels = Labels::parse(ask.parameter("labelSelector").unwrap_or_default()).map_err(bad)?;
    let fields = Fields::parse(
        ask.parameter("fieldSelector").unwrap_or_default(),
        kind.resource,
    )
    .map_err(bad)?;
    Ok(Filter {
        kind,
        namespace,
        labels,
        fields,
    })
}

fn version_of(ask: &Ask) -> Result<Option<u64>, String> {
    let Some(text) = ask.parameter("resourceVersion") else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|_| {
        format!("resourceVersion: Invalid value: \"{text}\": strconv.ParseUint: parsing \"{text}\": invalid syntax")
    })
}

fn list(
    store: &Store,
    ask: &Ask,
    kind: &'static Kind,
    namespace: String,
    form: Form,
) -> Result<Whole, Whole> {
    let bad = |message: &str| failure(400, "BadRequest", message, None);
    if ask.flag("sendInitialEvents") {
        return Err(failure(
            422,
            "Invalid",
            "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list",
            None,
        ));
    }
    let asked =
        version_of(ask).map_err(|message| bad(&format!("invalid resource version: {message}")))?;
    if let Some(wanted) = asked.filter(|wanted| *wanted > store.version()) {
        return Err(too_large(wanted, store.version()));
    }
    let filter = filter_of(ask, kind, namespace)?;
    let limit = ask
        .parameter("limit")
        .and_then(|text| text.parse::<usize>().ok());
    // A list at version 0 is served from the watch cache, which does not page.
    let limit = limit
        .filter(|limit| *limit > 0 && asked != Some(0))
        .unwrap_or(usize::MAX);
    let (version, start) = match ask.parameter("continue") {
        Some(token) => {
            let (version, start) = token_parts(token)
                .ok_or_else(|| bad("invalid continue token: continue key is not valid"))?;
            (version, Some(start))
        }
        None if ask.parameter("resourceVersionMatch") == Some("Exact") => {
            (asked.unwrap_or_default(), None)
        }
        None => (store.version(), None),
    };
    let selected = if version == store.version() {
        store.select(&filter)
    } else {
        store.select_at(&filter, version).ok_or_else(|| {
            let message =
                "The provided continue parameter is too old to display a consistent list result.";
            failure(410, "Expired", message, None)
        })?
    };
    let key = |namespace: &str, name: &str| format!("{namespace}/{name}");
    let rest: Vec<_> = selected
        .iter()
        .filter(|object| {
            start
                .as_ref()
                .is_none_or(|start| key(&object.namespace, &object.name) > *start)
        })
        .collect();
    let page = &rest[..rest.len().min(limit)];
    let remaining = rest.len() - page.len();
    let token = page
        .last()
        .filter(|_| remaining > 0)
        .map(|last| token(version, &key(&last.namespace, &last.name)));
    if form.shape == Shape::Table {
        let rows: Vec<String> = page.iter().map(|object| object.whole()).collect();
        return Ok(Whole::json(200, format!("{}\n", table(&rows, version))));
    }
    if form.shape == Shape::Metadata {
        let objects = page.iter().map(|object| object.whole());
        return Ok(Whole::json(200, partial(objects, version)));
    }
    let counted = (filter.labels.is_empty() && filter.fields.is_empty()).then_some(remaining);
    if form.protobuf {
        let messages = page.iter().map(|object| object.message());
        return Ok(compressed(
            ask,
            form::list(kind, messages, version, token, counted),
        ));
    }
    let items: Vec<String> = page.iter().map(|object| object.item()).collect();
    let text = list_text(kind, &items, version, token, counted);
    Ok(compressed(ask, Whole::json(200, text)))
}

/// The envelope of a list.
fn list_text(
    kind: &Kind,
    items: &[String],
    version: u64,
    token: Option<String>,
    counted: Option<usize>,
) -> String {
    let items = items.join(",");
    let remaining = match (&token, counted) {
        (Some(_), Some(count)) => format!(",\"remainingItemCount\":{count}"),
        _ => String::new(),
    };
    let (api_version, name) = (kind.api_version(), kind.kind);
    if kind.custom {
        let token = token.unwrap_or_default();
        return format!(
            "{{\"apiVersion\":\"{api_version}\",\"items\":[{items}],\"kind\":\"{name}List\",\
             \"metadata\":{{\"continue\":\"{token}\"{remaining},\"resourceVersion\":\"{version}\"}}}}\n"
        );
    }
    let token = token.map_or(String::new(), |token| format!(",\"continue\":\"{token}\""));
    format!(
        "{{\"kind\":\"{name}List\",\"apiVersion\":\"{api_version}\",\
         \"metadata\":{{\"resourceVersion\":\"{version}\"{token}{remaining}}},\"items\":[{items}]}}\n"
    )
}

/// gzip above 128 KiB for a client that asks for it.
fn compressed(ask: &Ask, mut answer: Whole) -> Whole {
    if ask.gzip && answer.body.len() > 128 * 1024 {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder
            .write_all(&answer.body)
            .expect("a Vec takes every byte");
        answer.body = encoder.finish().expect("a Vec takes every byte");
        answer.headers.push(("content-encoding", "gzip".into()));
        answer.headers.push(("vary", "Accept-Encoding".into()));
    }
    answer
}

fn partial(objects: impl Iterator<Item = String>, version: u64) -> String {
    let items: Vec<Value> = objects.filter_map(|text| metadata_of(&text)).collect();
    let list = json!({
        "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": version.to_string()}, "items": items,
    });
    format!("{list}\n")
}

fn watch(
    store: &Store,
    ask: &Ask,
    kind: &'static Kind,
    namespace: String,
    form: Form,
    watch_list: bool,
) -> Result<Reply, Whole> {
    let asked = version_of(ask).map_err(|message| failure(500, "", &message, None))?;
    let filter = filter_of(ask, kind, namespace)?;
    let initial = ask.flag("sendInitialEvents");
    if initial && (!watch_list || ask.parameter("resourceVersionMatch") != Some("NotOlderThan")) {
        let message = "ListOptions.meta.k8s.io \"\" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is forbidden";
        return Err(failure(422, "Invalid", message, None));
    }
    let bookmarks = ask.flag("allowWatchBookmarks");
    let current = store.version();
    let mut plan = WatchPlan {
        after: current,
        first: Vec::new(),
        ends: false,
        bookmarks,
        timeout: ask
            .parameter("timeoutSeconds")
            .and_then(|text| text.parse().ok())
            .map_or(Duration::from_secs(1800), Duration::from_secs),
        epoch: store.epoch(),
        form,
        filter,
    };
    let error = |status: Whole| vec![form.error(&status)];
    let after = asked.filter(|version| *version > 0);
    if initial || after.is_none() {
        if let Some(wanted) = after.filter(|wanted| *wanted > current) {
            plan.first = error(too_large(wanted, current));
            plan.ends = true;
            return Ok(Reply::Watch(Box::new(plan)));
        }
        let selected = store.select(&plan.filter);
        let added = selected.into_iter().map(|object| Happened {
            event: "ADDED",
            version: object.version,
            object,
        });
        plan.first = added.map(|happened| form.event(&happened)).collect();
        // From 1.34 on the server marks the end of the first events of an old-fashioned watch, too.
        if bookmarks && watch_list {
            plan.first.push(form.bookmark(kind, current, true));
        }
    } else if let Some(after) = after {
        if after < store.compacted() {
            let message = format!("too old resource version: {after} ({})", store.compacted());
            plan.first = error(failure(410, "Expired", &message, None));
            plan.ends = true;
        }
        plan.after = after;
    }
    Ok(Reply::Watch(Box::new(plan)))
}

/// Discovery, health and version.
fn other(ask: &Ask) -> Whole {
    if ask.method != "GET" {
        return failure(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
            Some(json!({})),
        );
    }
    match ask.path.as_str() {
        "/version" => Whole::json(200, "{\n  \"major\": \"1\",\n  \"minor\": \"36\",\n  \"gitVersion\": \"v1.36.2\",\n  \"platform\": \"linux/amd64\"\n}".into()),
        "/livez" | "/readyz" | "/healthz" => Whole::text(200, "ok"),
        "/api" => Whole::json(200, "{\"kind\":\"APIVersions\",\"versions\":[\"v1\"],\"serverAddressByClientCIDRs\":[{\"clientCIDR\":\"0.0.0.0/0\",\"serverAddress\":\"127.0.0.1:6443\"}]}\n".into()),
        "/apis" if ask.accept.contains("as=APIGroupDiscoveryList") => tagged(
            ask,
            "{\"kind\":\"APIGroupDiscoveryList\",\"apiVersion\":\"apidiscovery.k8s.io/v2\",\"metadata\":{},\"items\":[]}\n".into(),
        ),
        "/apis" => tagged(ask, groups()),
        path => match resources(path.trim_matches('/')) {
            Some(text) => Whole::json(200, text),
            None => Whole::text(404, "404 page not found\n"),
        },
    }
}

/// A document with an `ETag`, as aggregated discovery has it; 304 to who holds it.
fn tagged(ask: &Ask, body: String) -> Whole {
    let mut hasher = std::hash::DefaultHasher::new();
    std::hash::Hash::hash(&body, &mut hasher);
    let tag = format!("\"{:X}\"", std::hash::Hasher::finish(&hasher));
    let mut whole = if ask.if_none_match == tag {
        Whole {
            status: 304,
            headers: Vec::new(),
            body: Vec::new(),
        }
    } else {
        Whole::json(200, body)
    };
    whole.headers.push(("etag", tag));
    whole.headers.push(("vary", "Accept".into()));
    whole
}

fn groups() -> String {
    let mut seen: Vec<&Kind> = Vec::new();
    for kind in KINDS {
        if !kind.group.is_empty() && !seen.iter().any(|other| other.group == kind.group) {
            seen.push(kind);
        }
    }
    let groups: Vec<Value> = seen
        .iter()
        .map(|kind| {
            let version = json!({"groupVersion": kind.api_version(), "version": kind.version});
            json!({"name": kind.group, "versions": [version], "preferredVersion": version})
        })
        .collect();
    format!(
        "{}\n",
        json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
    )
}

fn resources(path: &str) -> Option<String> {
    let version = path
        .strip_prefix("apis/")
        .or_else(|| path.strip_prefix("api/"))?;
    let resources: Vec<Value> = KINDS
        .into_iter()
        .filter(|kind| kind.api_version() == version)
        .map(|kind| {
            let verbs = ["create", "delete", "get", "list", "patch", "update", "watch"];
            json!({"name": kind.resource, "singularName": "", "namespaced": kind.namespaced, "kind": kind.kind, "verbs": verbs})
        })
        .collect();
    if resources.is_empty() {
        return None;
    }
    let list = json!({"kind": "APIResourceList", "groupVersion": version, "resources": resources});
    Some(format!("{list}\n"))
}

/// A continue token. The real one is base64 of JSON; to clients both are opaque.
fn token(version: u64, last: &str) -> String {
    let hex: String = last.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("v{version}-{hex}")
}

fn token_parts(token: &str) -> Option<(u64, String)> {
    let (version, hex) = token.strip_prefix('v')?.split_once('-')?;
    let bytes: Option<Vec<u8>> = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok())
        .collect();
    Some((version.parse().ok()?, String::from_utf8(bytes?).ok()?))
}
