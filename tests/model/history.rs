//! The reference model: every state of every object of the server, by version, with an epoch for each time that etcd was
//! put back to an older copy.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

/// `namespace/name`.
pub(crate) type Key = String;

/// One state of one object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Thing {
    pub(crate) key: Key,
    /// Another object under the same name has another.
    pub(crate) uid: String,
    pub(crate) version: u64,
    /// All but `kind`, `apiVersion` and the version. No two states are alike: each holds a number of its own.
    pub(crate) content: Value,
}

/// What a client sees of the objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Selection {
    pub(crate) namespace: Option<&'static str>,
    /// Only what bears the label.
    pub(crate) labelled: bool,
    pub(crate) name: Option<&'static str>,
    /// The agent keeps names from clients that start so.
    pub(crate) hidden: Option<&'static str>,
}

/// Objects by their key, as a client's store holds them.
pub(crate) type Store = BTreeMap<Key, Arc<Thing>>;

/// One write.
#[derive(Clone, Debug)]
struct Change {
    version: u64,
    key: Key,
    now: Option<Arc<Thing>>,
}

/// One history of the server: what it shares with the one before, and what came then.
#[derive(Clone, Debug)]
struct Epoch {
    /// Versions up to this one are those of the epoch before.
    fork: u64,
    changes: Vec<Change>,
    top: u64,
}

/// All that was ever true.
#[derive(Debug)]
pub(crate) struct History {
    epochs: Vec<Epoch>,
    /// From this epoch on answers must be: nobody has a right to an older one any more.
    pub(crate) least: usize,
    /// Counts what may make the agent learn from a list what it would else have learnt from a watch.
    pub(crate) disturbed: u64,
}

impl Thing {
    /// Reads an object as it stands in a list or an event. What has no name, uid or version is none.
    pub(crate) fn read(mut object: Value, typed: bool) -> Option<Self> {
        if typed && let Some(fields) = object.as_object_mut() {
            fields.shift_remove("kind");
            fields.shift_remove("apiVersion");
        }
        let meta = object.get_mut("metadata")?.as_object_mut()?;
        let version = meta
            .shift_remove("resourceVersion")?
            .as_str()?
            .parse()
            .ok()?;
        let text = |field: &str| meta.get(field).and_then(Value::as_str);
        Some(Self {
            key: format!("{}/{}", text("namespace")?, text("name")?),
            uid: text("uid")?.to_owned(),
            version,
            content: object,
        })
    }
}

impl Selection {
    /// Whether a client that selects so sees the object.
    pub(crate) fn admits(&self, thing: &Thing) -> bool {
        let (namespace, name) = thing.key.split_once('/').unwrap_or_default();
        self.namespace.is_none_or(|asked| asked == namespace)
            && self.name.is_none_or(|asked| asked == name)
            && (!self.labelled || thing.content["metadata"]["labels"]["k"] == "v")
            && !self.hides(&thing.key)
    }

    /// Whether nothing of that name may ever be told.
    pub(crate) fn hides(&self, key: &str) -> bool {
        let name = key.split_once('/').map_or("", |(_, name)| name);
        self.hidden.is_some_and(|hidden| name.starts_with(hidden))
    }
}

impl History {
    /// A server that has nothing, at this version.
    pub(crate) fn new(top: u64) -> Self {
        let first = Epoch {
            fork: 0,
            changes: Vec::new(),
            top,
        };
        Self {
            epochs: vec![first],
            least: 0,
            disturbed: 0,
        }
    }

    /// The number of the epoch that runs.
    pub(crate) fn current(&self) -> usize {
        self.epochs.len() - 1
    }

    /// The newest version of an epoch.
    pub(crate) fn top(&self, epoch: usize) -> u64 {
        self.epochs[epoch].top
    }

    /// The server's newest version.
    pub(crate) fn now(&self) -> u64 {
        self.top(self.current())
    }

    /// The highest version that there ever was.
    pub(crate) fn highest(&self) -> u64 {
        self.epochs.iter().map(|epoch| epoch.top).max().unwrap_or(0)
    }

    /// A write at `version`.
    pub(crate) fn record(&mut self, version: u64, key: &str, now: Option<Thing>) {
        let current = self.current();
        let epoch = &mut self.epochs[current];
        epoch.top = version;
        epoch.changes.push(Change {
            version,
            key: key.to_owned(),
            now: now.map(Arc::new),
        });
    }

    /// The version moved on without an object.
    pub(crate) fn skip(&mut self, top: u64) {
        let current = self.current();
        self.epochs[current].top = top;
    }

    /// The server goes back to what it was at `fork`, which is of the epoch that runs.
    pub(crate) fn rewind(&mut self, fork: u64) {
        let mut epoch = self.epochs[self.current()].clone();
        epoch.changes.retain(|change| change.version <= fork);
        epoch.top = fork;
        epoch.fork = fork;
        self.epochs.push(epoch);
    }

    /// The last epoch of which `version` of `epoch` is the past.
    pub(crate) fn reaches(&self, epoch: usize, version: u64) -> usize {
        let mut reached = epoch;
        while reached < self.current() && version <= self.epochs[reached + 1].fork {
            reached += 1;
        }
        reached
    }

    /// What a client that selects so sees at a version.
    pub(crate) fn state(&self, epoch: usize, version: u64, selection: &Selection) -> Store {
        let mut store = Store::new();
        for change in &self.epochs[epoch].changes {
            if change.version > version {
                break;
            }
            match change.now.as_ref().filter(|thing| selection.admits(thing)) {
                Some(thing) => drop(store.insert(change.key.clone(), Arc::clone(thing))),
                None => drop(store.remove(&change.key)),
            }
        }
        store
    }

    /// What the object was at a version.
    pub(crate) fn at(&self, epoch: usize, version: u64, key: &str) -> Option<&Arc<Thing>> {
        let changes = self.epochs[epoch].changes.iter().rev();
        changes
            .skip_while(|change| change.version > version)
            .find(|change| change.key == key)?
            .now
            .as_ref()
    }

    /// Every state of a key up to a version.
    pub(crate) fn states<'a>(
        &'a self,
        epoch: usize,
        version: u64,
        key: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Thing>> {
        let changes = self.epochs[epoch].changes.iter();
        changes
            .filter(move |change| change.version <= version && change.key == key)
            .filter_map(|change| change.now.as_ref())
    }

    /// Versions from `from` on at which something happened to a key, and `from` itself.
    pub(crate) fn moments(&self, epoch: usize, from: u64, key: &str) -> Vec<u64> {
        let changes = self.epochs[epoch].changes.iter();
        let later = changes.filter(|change| change.version > from && change.key == key);
        std::iter::once(from)
            .chain(later.map(|change| change.version))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thing(name: &str, version: u64, label: &str) -> Thing {
        let object = serde_json::json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name,
            "namespace": "a", "uid": "u", "resourceVersion": version.to_string(), "labels": {"k": label}}});
        Thing::read(object, true).expect("an object")
    }

    const ALL: Selection = Selection {
        namespace: None,
        labelled: false,
        name: None,
        hidden: Some("skip-"),
    };

    #[test]
    fn a_history_tells_each_state_of_each_epoch() {
        let mut history = History::new(100);
        history.record(101, "a/x", Some(thing("x", 101, "v")));
        history.record(102, "a/skip-x", Some(thing("skip-x", 102, "v")));
        history.record(103, "a/x", Some(thing("x", 103, "w")));
        history.rewind(102);
        history.record(103, "a/x", None);
        let names = |epoch, version, selection: &Selection| {
            let state = history.state(epoch, version, selection);
            state.into_keys().collect::<Vec<_>>()
        };
        let labelled = Selection {
            labelled: true,
            ..ALL
        };
        assert_eq!(names(0, 103, &ALL), ["a/x"]);
        assert_eq!(names(0, 102, &labelled), ["a/x"]);
        assert_eq!(names(0, 103, &labelled), Vec::<String>::new());
        assert_eq!(names(1, 103, &ALL), Vec::<String>::new());
        assert_eq!((history.reaches(0, 102), history.reaches(0, 103)), (1, 0));
        assert_eq!(
            history.at(1, 102, "a/x").map(|thing| thing.version),
            Some(101)
        );
        assert_eq!(history.moments(0, 101, "a/x"), [101, 103]);
    }
}
