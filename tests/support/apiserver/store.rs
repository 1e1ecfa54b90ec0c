//! The objects behind the fake server: one growing version over all of them, and the history that watches read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::OnceLock;

use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use smol::channel::Receiver;
use smol::channel::Sender;

use super::kind::Kind;
use super::selector::Fields;
use super::selector::Labels;
use super::token::Tokens;
use crate::support::protobuf::write;

/// Stands in an object's template for the version that it is written with.
const VERSION_MARK: &str = "@RV@";

/// One object at one version.
#[derive(Debug)]
pub struct Stored {
    /// Its type.
    pub kind: &'static Kind,
    /// Its namespace, or empty.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The version it was written at.
    pub version: u64,
    /// The object as JSON, for selectors and patches.
    pub value: Value,
    template: String,
    message: OnceLock<Vec<u8>>,
}

impl Stored {
    /// The object as a message; empty for a kind without protobuf.
    pub fn message(&self) -> &[u8] {
        let encode = || write::message(self.kind.kind, &self.value).unwrap_or_default();
        self.message.get_or_init(encode)
    }

    /// The last content with the version of the deletion.
    pub fn message_at(&self, version: u64) -> Vec<u8> {
        let mut value = self.value.clone();
        value["metadata"]["resourceVersion"] = json!(version.to_string());
        write::message(self.kind.kind, &value).unwrap_or_default()
    }

    /// The object as an item of a list.
    pub fn item(&self) -> String {
        self.text_at(self.version)
    }

    /// The object as a single answer or in an event: with `kind` and `apiVersion`.
    pub fn whole(&self) -> String {
        with_kind(self.kind, &self.item())
    }

    /// The last content with the version of the deletion, as a DELETED event carries it.
    pub fn whole_at(&self, version: u64) -> String {
        with_kind(self.kind, &self.text_at(version))
    }

    fn text_at(&self, version: u64) -> String {
        self.template.replace(VERSION_MARK, &version.to_string())
    }
}

/// Puts `kind` and `apiVersion` first, where a typed single object has them; a custom resource has its own.
fn with_kind(kind: &Kind, item: &str) -> String {
    if kind.custom {
        return item.into();
    }
    format!(
        "{{\"kind\":\"{}\",\"apiVersion\":\"{}\",{}",
        kind.kind,
        kind.api_version(),
        &item[1..]
    )
}

/// What a list or watch asks for.
#[derive(Debug)]
pub struct Filter {
    /// The type.
    pub kind: &'static Kind,
    /// One namespace, or empty for all.
    pub namespace: String,
    /// Labels asked for.
    pub labels: Labels,
    /// Fields asked for.
    pub fields: Fields,
}

impl Filter {
    fn matches(&self, object: &Stored) -> bool {
        std::ptr::eq(self.kind, object.kind)
            && (self.namespace.is_empty() || self.namespace == object.namespace)
            && self.labels.matches(&object.value["metadata"]["labels"])
            && self.fields.matches(&object.value)
    }
}

/// One write: what was before and what is after.
struct Change {
    version: u64,
    before: Option<Arc<Stored>>,
    after: Option<Arc<Stored>>,
}

/// What happened to an object, as it looks through a filter.
#[derive(Clone, Debug)]
pub struct Happened {
    /// `ADDED`, `MODIFIED` or `DELETED`.
    pub event: &'static str,
    /// The object; of one that is gone, its last state.
    pub object: Arc<Stored>,
    /// The version that this made.
    pub version: u64,
}

type Objects = BTreeMap<(String, String), Arc<Stored>>;

/// A copy of the whole store, to go back to.
pub struct Backup {
    version: u64,
    objects: Objects,
}

/// All objects, their history, and the signal that something changed.
pub struct Store {
    version: u64,
    objects: Objects,
    history: Vec<Change>,
    compacted: u64,
    epoch: u64,
    expired: bool,
    created: u64,
    changed: (Sender<()>, Receiver<()>),
    /// How tokens are given.
    pub tokens: Tokens,
}

impl Store {
    /// An empty store; versions start at 101.
    pub fn new() -> Self {
        Self {
            version: 100,
            objects: BTreeMap::new(),
            history: Vec::new(),
            compacted: 0,
            epoch: 0,
            expired: false,
            created: 0,
            changed: smol::channel::bounded(1),
            tokens: Tokens::default(),
        }
    }

    /// The newest version.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Changes below and at this version are forgotten.
    pub fn compacted(&self) -> u64 {
        self.compacted
    }

    /// Counts restores and `end_watches`: a watch of an earlier epoch ends.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// A receiver that closes at the next change.
    pub fn changed(&self) -> Receiver<()> {
        self.changed.1.clone()
    }

    /// The object, if it is there.
    pub fn find(&self, kind: &Kind, namespace: &str, name: &str) -> Option<Arc<Stored>> {
        self.objects.get(&key(kind, namespace, name)).cloned()
    }

    /// Creates or updates an object; returns its version. The server's fields of `metadata` are filled in.
    pub fn put(&mut self, kind: &'static Kind, mut value: Value) -> u64 {
        let text = |value: &Value, field: &str| {
            value["metadata"][field]
                .as_str()
                .unwrap_or_default()
                .to_string()
        };
        let (namespace, name) = (text(&value, "namespace"), text(&value, "name"));
        let before = self.find(kind, &namespace, &name);
        let uid = before.as_ref().map_or_else(
            || {
                self.created += 1;
                format!("00000000-0000-4000-8000-{:012x}", self.created)
            },
            |before| text(&before.value, "uid"),
        );
        let mut meta = Map::new();
        meta.insert("name".into(), json!(name));
        if kind.namespaced {
            meta.insert("namespace".into(), json!(namespace));
        }
        meta.insert("uid".into(), json!(uid));
        meta.insert("resourceVersion".into(), json!(VERSION_MARK));
        let rest = value["metadata"].as_object().cloned().unwrap_or_default();
        if let Some(generation) = rest.get("generation") {
            meta.insert("generation".into(), generation.clone());
        }
        meta.insert("creationTimestamp".into(), json!("2026-11-22T03:25:31Z"));
        for (field, content) in rest {
            meta.entry(field).or_insert(content);
        }
        value["metadata"] = Value::Object(meta);
        if kind.custom {
            value = sorted(&value);
        } else if let Some(object) = value.as_object_mut() {
            object.shift_remove("kind");
            object.shift_remove("apiVersion");
        }
        let template = value.to_string();
        self.write(kind, &namespace, &name, template)
    }

    /// Creates or updates an object from its text as a list item: it is sent byte for byte, `@RV@` being the version.
    pub fn put_text(
        &mut self,
        kind: &'static Kind,
        namespace: &str,
        name: &str,
        text: &str,
    ) -> u64 {
        self.write(kind, namespace, name, text.into())
    }

    fn write(&mut self, kind: &'static Kind, namespace: &str, name: &str, template: String) -> u64 {
        self.version += 1;
        let version = self.version;
        let mut stored = Stored {
            kind,
            namespace: namespace.into(),
            name: name.into(),
            version,
            value: Value::Null,
            template,
            message: OnceLock::new(),
        };
        stored.value = serde_json::from_str(&stored.item()).expect("a test's object is JSON");
        let stored = Arc::new(stored);
        let before = self
            .objects
            .insert(key(kind, namespace, name), stored.clone());
        self.record(before, Some(stored));
        version
    }

    /// Applies a JSON merge patch; `None` without the object.
    pub fn patch(
        &mut self,
        kind: &'static Kind,
        namespace: &str,
        name: &str,
        patch: &Value,
    ) -> Option<u64> {
        let mut value = self.find(kind, namespace, name)?.value.clone();
        merge(&mut value, patch);
        Some(self.put(kind, value))
    }

    /// Deletes an object; returns its last state and the version of the deletion.
    pub fn delete(
        &mut self,
        kind: &Kind,
        namespace: &str,
        name: &str,
    ) -> Option<(Arc<Stored>, u64)> {
        let before = self.objects.remove(&key(kind, namespace, name))?;
        self.version += 1;
        self.record(Some(before.clone()), None);
        Some((before, self.version))
    }

    fn record(&mut self, before: Option<Arc<Stored>>, after: Option<Arc<Stored>>) {
        self.history.push(Change {
            version: self.version,
            before,
            after,
        });
        self.notify();
    }

    fn notify(&mut self) {
        // Dropping the old sender closes every receiver that was handed out.
        self.changed = smol::channel::bounded(1);
    }

    /// Moves the version on without an object, as writes to other resources do.
    pub fn skip_versions(&mut self, count: u64) {
        self.version += count;
    }

    /// Forgets the history: watches from before now get 410.
    pub fn compact(&mut self) {
        self.history.clear();
        self.compacted = self.version;
        self.end_watches(false);
    }

    /// Ends every open watch: cleanly, or with an ERROR event of 410.
    pub fn end_watches(&mut self, expired: bool) {
        self.epoch += 1;
        self.expired = expired;
        self.notify();
    }

    /// Whether the last `end_watches` was with an error.
    pub fn expired(&self) -> bool {
        self.expired
    }

    /// A copy to go back to.
    pub fn backup(&self) -> Backup {
        Backup {
            version: self.version,
            objects: self.objects.clone(),
        }
    }

    /// Goes back to a copy: versions run backwards, as after a restore of etcd. Every watch ends.
    pub fn restore(&mut self, backup: &Backup) {
        self.version = backup.version;
        self.objects = backup.objects.clone();
        self.compact();
    }

    /// What the filter selects now, in the order of keys.
    pub fn select(&self, filter: &Filter) -> Vec<Arc<Stored>> {
        self.objects
            .values()
            .filter(|object| filter.matches(object))
            .cloned()
            .collect()
    }

    /// What the filter selected at an earlier version; `None` if that is forgotten.
    pub fn select_at(&self, filter: &Filter, version: u64) -> Option<Vec<Arc<Stored>>> {
        if version < self.compacted {
            return None;
        }
        let mut objects = self.objects.clone();
        for change in self.history.iter().rev() {
            if change.version <= version {
                break;
            }
            if let Some(after) = &change.after {
                objects.remove(&key(after.kind, &after.namespace, &after.name));
            }
            if let Some(before) = &change.before {
                let place = key(before.kind, &before.namespace, &before.name);
                objects.insert(place, before.clone());
            }
        }
        let selected = objects
            .into_values()
            .filter(|object| filter.matches(object));
        Some(selected.collect())
    }

    /// What happened after `version`, and the version that leads to. `None` if that is forgotten.
    pub fn events_after(&self, filter: &Filter, version: u64) -> Option<(Vec<Happened>, u64)> {
        if version < self.compacted {
            return None;
        }
        let start = self
            .history
            .partition_point(|change| change.version <= version);
        let events = self.history[start..]
            .iter()
            .filter_map(|change| event_of(change, filter))
            .collect();
        Some((events, self.version.max(version)))
    }
}

/// How a change looks through a filter: entering is ADDED, leaving is DELETED with the old content and the new version.
fn event_of(change: &Change, filter: &Filter) -> Option<Happened> {
    let before = change
        .before
        .as_ref()
        .filter(|object| filter.matches(object));
    let after = change
        .after
        .as_ref()
        .filter(|object| filter.matches(object));
    let (event, object) = match (before, after) {
        (None, None) => return None,
        (None, Some(after)) => ("ADDED", after),
        (Some(_), Some(after)) => ("MODIFIED", after),
        (Some(before), None) => ("DELETED", before),
    };
    Some(Happened {
        event,
        object: Arc::clone(object),
        version: change.version,
    })
}

/// One line of a watch.
pub fn line(event: &str, object: &str) -> String {
    format!("{{\"type\":\"{event}\",\"object\":{object}}}\n")
}

fn key(kind: &Kind, namespace: &str, name: &str) -> (String, String) {
    // One text for namespace and name, as in etcd: `a-b/x` sorts before `a/x`.
    (kind.qualified(), format!("{namespace}/{name}"))
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    if let Value::Object(object) = target {
        for (field, content) in fields {
            if content.is_null() {
                object.shift_remove(field);
            } else {
                merge(object.entry(field.clone()).or_insert(Value::Null), content);
            }
        }
    }
}

/// The same value with the keys of every object sorted, as custom resources are written.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut fields: Vec<_> = object.iter().collect();
            fields.sort_by_key(|(field, _)| (*field).clone());
            let sorted = fields
                .into_iter()
                .map(|(field, content)| (field.clone(), sorted(content)));
            Value::Object(sorted.collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::kind::CAMERAS;
    use super::super::kind::CONFIGMAPS;
    use super::super::selector::Fields;
    use super::super::selector::Labels;
    use super::Filter;
    use super::Store;
    use crate::support::object;
    use serde_json::json;

    fn all() -> Filter {
        labelled("")
    }

    fn labelled(labels: &str) -> Filter {
        Filter {
            kind: &CONFIGMAPS,
            namespace: String::new(),
            labels: Labels::parse(labels).expect("selector"),
            fields: Fields::default(),
        }
    }

    #[test]
    fn items_are_written_as_the_real_server_writes_them() {
        let mut store = Store::new();
        store.put(&CONFIGMAPS, object::configmap("a", "x", &[("k", "v")], "1"));
        store.put(&CAMERAS, object::camera("a", "c", 25));
        let item = store.find(&CONFIGMAPS, "a", "x").expect("stored").item();
        assert_eq!(
            item,
            "{\"metadata\":{\"name\":\"x\",\"namespace\":\"a\",\"uid\":\"00000000-0000-4000-8000-000000000001\",\
             \"resourceVersion\":\"101\",\"creationTimestamp\":\"2026-11-22T03:25:31Z\",\"labels\":{\"k\":\"v\"}},\
             \"data\":{\"test\":\"1\"}}"
        );
        let camera = store.find(&CAMERAS, "a", "c").expect("stored").item();
        assert!(camera.starts_with(
            "{\"apiVersion\":\"edge.example.com/v1beta2\",\"kind\":\"Camera\",\"metadata\":{\"creationTimestamp\""
        ));
    }

    #[test]
    fn an_object_enters_and_leaves_a_selection() {
        let mut store = Store::new();
        let start = store.version();
        store.put(&CONFIGMAPS, object::configmap("a", "x", &[], "1"));
        store.patch(
            &CONFIGMAPS,
            "a",
            "x",
            &json!({"metadata": {"labels": {"k": "v"}}}),
        );
        store.patch(&CONFIGMAPS, "a", "x", &json!({"data": {"test": "2"}}));
        store.patch(
            &CONFIGMAPS,
            "a",
            "x",
            &json!({"metadata": {"labels": {"k": null}}}),
        );
        let (events, version) = store.events_after(&labelled("k=v"), start).expect("held");
        let types: Vec<_> = events.iter().map(|happened| happened.event).collect();
        assert_eq!(types, ["ADDED", "MODIFIED", "DELETED"]);
        let gone = events[2].object.whole_at(events[2].version);
        assert!(gone.contains("\"resourceVersion\":\"104\"") && gone.contains("\"k\":\"v\""));
        assert_eq!(version, 104);
    }

    #[test]
    fn earlier_states_can_be_read_until_they_are_compacted() {
        let mut store = Store::new();
        let first = store.put(&CONFIGMAPS, object::configmap("a", "x", &[], "1"));
        store.put(&CONFIGMAPS, object::configmap("a", "y", &[], "1"));
        store.delete(&CONFIGMAPS, "a", "x");
        let names = |store: &Store| {
            let then = store.select_at(&all(), first)?;
            Some(
                then.iter()
                    .map(|object| object.name.clone())
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(names(&store), Some(vec!["x".to_string()]));
        store.compact();
        assert_eq!(names(&store), None);
        assert!(store.events_after(&all(), first).is_none());
    }
}
