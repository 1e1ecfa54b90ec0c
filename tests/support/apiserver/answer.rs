//! What the fake server says: request in, answer out, as kube-apiserver 1.36 was recorded to answer.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use serde_json::json;

use super::kind::KINDS;
use super::kind::Kind;
use super::kind::Place;
use super::kind::place;
use super::selector::Fields;
use super::selector::Labels;
use super::store::Filter;
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
    /// Whether `Accept-Encoding` names gzip.
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
    /// Lines to send first.
    pub first: Vec<String>,
    /// Whether to end after those.
    pub ends: bool,
    /// Whether bookmarks are wanted.
    pub bookmarks: bool,
    /// When to end.
    pub timeout: Duration,
    /// The store's epoch at the start.
    pub epoch: u64,
    /// Whether each object is wrapped in a Table.
    pub table: bool,
    /// Whether only metadata is wanted.
    pub partial: bool,
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

/// What the client can read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Table,
    Partial,
    Protobuf,
}

/// The first clause of `Accept` that the server can serve; protobuf only when nothing else is offered.
fn form(accept: &str) -> Option<Form> {
    if accept.trim().is_empty() {
        return Some(Form::Json);
    }
    let mut protobuf = false;
    for clause in accept.split(',') {
        let mut parts = clause.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let transform = parts.find_map(|parameter| parameter.strip_prefix("as="));
        match (media, transform) {
            ("application/json" | "*/*" | "application/*", None) => return Some(Form::Json),
            ("application/json", Some("Table")) => return Some(Form::Table),
            ("application/json", Some(partial)) if partial.starts_with("PartialObjectMetadata") => {
                return Some(Form::Partial);
            }
            ("application/vnd.kubernetes.protobuf", _) => protobuf = true,
            _ => {}
        }
    }
    protobuf.then_some(Form::Protobuf)
}

/// Answers one request.
pub fn answer(store: &mut Store, ask: &Ask, watch_list: bool) -> Reply {
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
    let Some(form) = form(&ask.accept).filter(|form| *form != Form::Protobuf || !kind.custom)
    else {
        let message = "only the following media types are accepted: application/json, application/yaml, \
                       application/vnd.kubernetes.protobuf";
        return Reply::Whole(failure(406, "NotAcceptable", message, None));
    };
    if form == Form::Protobuf && ask.method == "GET" {
        // Not a real list: bytes that nobody could take for JSON.
        return Reply::Whole(Whole {
            status: 200,
            headers: vec![("content-type", "application/vnd.kubernetes.protobuf".into())],
            body: b"k8s\0\x0a\x07\x0a\x02v1\x12\x01L protobuf marker".to_vec(),
        });
    }
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
        (_, Form::Table) => Whole::json(
            200,
            format!("{}\n", table(&[object.whole()], object.version)),
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
    if form == Form::Table {
        let rows: Vec<String> = page.iter().map(|object| object.whole()).collect();
        return Ok(Whole::json(200, format!("{}\n", table(&rows, version))));
    }
    if form == Form::Partial {
        return Ok(Whole::json(
            200,
            partial(page.iter().map(|object| object.whole()), version),
        ));
    }
    let items: Vec<String> = page.iter().map(|object| object.item()).collect();
    let counted = (filter.labels.is_empty() && filter.fields.is_empty()).then_some(remaining);
    Ok(compressed(
        ask,
        list_text(kind, &items, version, token, counted),
    ))
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
fn compressed(ask: &Ask, text: String) -> Whole {
    let mut answer = Whole::json(200, text);
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

fn table(objects: &[String], version: u64) -> String {
    let rows: Vec<Value> = objects
        .iter()
        .filter_map(|text| serde_json::from_str::<Value>(text).ok())
        .map(|object| json!({"cells": [object["metadata"]["name"]], "object": {
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]}}))
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": version.to_string()},
        "columnDefinitions": [{"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0}],
        "rows": rows,
    })
    .to_string()
}

/// A Table of one row, for a watch.
pub fn table_row(object: &str) -> String {
    let version = serde_json::from_str::<Value>(object)
        .ok()
        .and_then(|value| value["metadata"]["resourceVersion"].as_str()?.parse().ok())
        .unwrap_or_default();
    table(&[object.to_string()], version)
}

/// An object's metadata, as an object of its own.
pub fn metadata_of(object: &str) -> Option<Value> {
    let object: Value = serde_json::from_str(object).ok()?;
    Some(
        json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]}),
    )
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
        table: form == Form::Table,
        partial: form == Form::Partial,
        filter,
    };
    let error = |status: Whole| {
        let text = String::from_utf8_lossy(&status.body).trim_end().to_string();
        vec![super::store::line("ERROR", &text)]
    };
    let after = asked.filter(|version| *version > 0);
    if initial || after.is_none() {
        if let Some(wanted) = after.filter(|wanted| *wanted > current) {
            plan.first = error(too_large(wanted, current));
            plan.ends = true;
            return Ok(Reply::Watch(Box::new(plan)));
        }
        let selected = store.select(&plan.filter);
        plan.first = selected
            .iter()
            .map(|object| super::store::line("ADDED", &object.whole()))
            .collect();
        // From 1.34 on the server marks the end of the first events of an old-fashioned watch, too.
        if bookmarks && watch_list {
            plan.first.push(bookmark(kind, current, true));
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

/// A bookmark line; the last bookmark of the first events carries the annotation.
pub fn bookmark(kind: &Kind, version: u64, initial: bool) -> String {
    let annotation = if initial {
        ",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}"
    } else {
        ""
    };
    let (name, api_version) = (kind.kind, kind.api_version());
    let object = if kind.custom {
        let annotation = annotation.trim_start_matches(',');
        let comma = if initial { "," } else { "" };
        format!(
            "{{\"apiVersion\":\"{api_version}\",\"kind\":\"{name}\",\
             \"metadata\":{{{annotation}{comma}\"resourceVersion\":\"{version}\"}}}}"
        )
    } else {
        format!(
            "{{\"kind\":\"{name}\",\"apiVersion\":\"{api_version}\",\
             \"metadata\":{{\"resourceVersion\":\"{version}\"{annotation}}}{}}}",
            kind.blank
        )
    };
    super::store::line("BOOKMARK", &object)
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
