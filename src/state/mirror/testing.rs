//! What the tests of the mirror share: a small API server to mirror, and clients that keep what they are told.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;
use std::time::Instant;

use crate::io::crypto::Key;
use crate::io::flash::memory::Memory;
use crate::io::flash::memory::Random;
use crate::io::worker;
use crate::k8s::collection::Collection;
use crate::k8s::object::ObjectKey;
use crate::k8s::object::ResourceVersion;
use crate::k8s::resource::GroupVersionResource;
use crate::state::mirror::Changed;
use crate::state::mirror::Cursor;
use crate::state::mirror::Error;
use crate::state::mirror::Log;
use crate::state::mirror::Mirror;
use crate::state::mirror::Next;
use crate::state::mirror::Options;
use crate::state::mirror::TypeMeta;
use crate::state::mirror::Writer;

/// Key → version and bytes.
pub(crate) type Objects = BTreeMap<String, (u64, Vec<u8>)>;

pub(crate) fn collection(resource: &str) -> Collection {
    Collection {
        resource: GroupVersionResource::new("", "v1", resource),
        namespace: None,
        labels: Default::default(),
        fields: Default::default(),
        encoding: Default::default(),
        credential: Default::default(),
    }
}

pub(crate) fn type_meta() -> TypeMeta {
    TypeMeta {
        kind: "ConfigMap".into(),
        api_version: "v1".into(),
        typed: true,
        encoding: Default::default(),
    }
}

/// The key of all mirrors in tests.
pub(crate) fn seal_key() -> Key {
    Key::new(&[7; 32])
}

pub(crate) fn open(flash: &Memory) -> Rc<Mirror> {
    let options = Options {
        sync_window: Duration::ZERO,
        stamp,
        same,
        cap: 64 << 20,
    };
    Mirror::open(Arc::new(flash.clone()), options, seal_key()).expect("the folder can be listed")
}

const VERSION: &[u8] = b"\"resourceVersion\":\"";

/// One object as long as its `uid` member is the same, or there is none.
fn same(a: &[u8], b: &[u8]) -> bool {
    const UID: &[u8] = b"\"uid\":\"";
    let uid = |object: &[u8]| {
        let at = object.windows(UID.len()).position(|part| part == UID)? + UID.len();
        object[at..]
            .iter()
            .position(|b| *b == b'"')
            .map(|len| object[at..at + len].to_vec())
    };
    uid(a) == uid(b)
}

fn stamp(object: &[u8], version: ResourceVersion) -> Option<Vec<u8>> {
    let from = object.windows(VERSION.len()).position(|w| w == VERSION)? + VERSION.len();
    let to = from + object[from..].iter().position(|b| *b == b'"')?;
    Some(
        [
            &object[..from],
            version.to_string().as_bytes(),
            &object[to..],
        ]
        .concat(),
    )
}

pub(crate) fn object(key: &ObjectKey, version: u64, size: usize) -> Vec<u8> {
    let name = key.name();
    let fill = "x".repeat(size);
    format!(
        r#"{{"metadata":{{"name":"{name}","resourceVersion":"{version}"}},"data":{{"a":"{fill}"}}}}"#
    )
    .into_bytes()
}

/// What a log holds, read object by object; none when it is not complete.
pub(crate) fn content(log: &Rc<Log>) -> Result<Option<(u64, Objects)>, Error> {
    let Some(mut snapshot) = log.snapshot()? else {
        return Ok(None);
    };
    let mut objects = Objects::new();
    let mut last = String::new();
    while let Some(stored) = snapshot.next() {
        let stored = stored?;
        let key = stored.key.as_str().to_owned();
        assert!(last < key, "in key order, each once");
        objects.insert(key.clone(), (stored.version.0, stored.object));
        last = key;
    }
    assert_eq!(objects.len(), snapshot.len());
    Ok(Some((snapshot.version().0, objects)))
}

/// Key, version, and the object unless it is gone.
pub(crate) type Delivery = (String, u64, Option<(u64, Vec<u8>)>);

#[derive(Clone, Debug)]
struct Event {
    key: ObjectKey,
    version: u64,
    deleted: bool,
    object: Vec<u8>,
}

/// An API server with one resource, and the agent's view of it.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) version: u64,
    pub(crate) objects: Objects,
    /// What the watch has not delivered yet.
    pending: Vec<Event>,
    pub(crate) keys: usize,
    pub(crate) size: usize,
}

impl Server {
    pub(crate) fn new(version: u64) -> Self {
        Self {
            version,
            objects: Objects::new(),
            pending: Vec::new(),
            keys: 12,
            size: 300,
        }
    }

    /// Something happens to some object.
    pub(crate) fn change(&mut self, random: &mut Random) {
        self.version += 1 + random.below(3) as u64;
        let number = random.below(self.keys);
        let key = ObjectKey::new(
            ["default", "kube-system"][number % 2],
            &format!("o{number}"),
        );
        let there = self.objects.contains_key(key.as_str());
        let deleted = there && random.below(3) == 0;
        let object = object(&key, self.version, random.below(self.size));
        if deleted {
            self.objects.remove(key.as_str());
        } else {
            let value = (self.version, object.clone());
            self.objects.insert(key.as_str().to_owned(), value);
        }
        self.pending.push(Event {
            key,
            version: self.version,
            deleted,
            object,
        });
    }

    /// What the next event of the watch is about.
    pub(crate) fn peek(&self) -> Option<Delivery> {
        let event = self.pending.first()?;
        let value = (event.version, event.object.clone());
        let key = event.key.as_str().to_owned();
        Some((key, event.version, (!event.deleted).then_some(value)))
    }

    /// The watch broke off.
    pub(crate) fn forget_pending(&mut self) {
        self.pending.clear();
    }

    /// Delivers one event of the watch; `false` when there is none.
    pub(crate) fn deliver(&mut self, writer: &mut Writer) -> Result<bool, Error> {
        if self.pending.is_empty() {
            return Ok(false);
        }
        let event = self.pending.remove(0);
        let version = ResourceVersion(event.version);
        if event.deleted {
            writer.delete(&event.key, version, false, &event.object)?;
        } else {
            writer.put(&event.key, version, false, &event.object)?;
        }
        Ok(true)
    }

    /// Lists everything; the watch goes on from there.
    pub(crate) async fn list(&mut self, writer: &mut Writer) -> Result<Changed, Error> {
        writer.begin(Some(&type_meta()))?;
        self.items(writer, usize::MAX).await?;
        self.pending.clear();
        let version = ResourceVersion(self.version);
        writer.commit(version, &type_meta()).await
    }

    /// The first items of a list that has begun.
    pub(crate) async fn items(&self, writer: &mut Writer, count: usize) -> Result<(), Error> {
        for (key, (version, object)) in self.objects.iter().take(count) {
            let key = ObjectKey::parse(key).expect("a key");
            let version = ResourceVersion(*version);
            writer.item(&key, version, true, object).await?;
        }
        Ok(())
    }
}

/// A client of the local watch.
pub(crate) struct Client {
    pub(crate) cursor: Cursor,
    pub(crate) objects: Objects,
    live: BTreeSet<(u64, String, bool)>,
    last: u64,
}

impl Client {
    /// Lists and watches; none when the collection is not complete.
    pub(crate) fn start(log: &Rc<Log>) -> Result<Option<Self>, Error> {
        let Some((mut snapshot, cursor)) = log.cursor_from_start()? else {
            return Ok(None);
        };
        let mut objects = Objects::new();
        while let Some(stored) = snapshot.next() {
            let stored = stored?;
            let value = (stored.version.0, stored.object);
            objects.insert(stored.key.as_str().to_owned(), value);
        }
        Ok(Some(Self {
            last: cursor.version().0,
            cursor,
            objects,
            live: BTreeSet::new(),
        }))
    }

    /// Watches again from where it was; `false` when it must list.
    pub(crate) fn resume(&mut self, log: &Rc<Log>) -> bool {
        self.last = self.cursor.version().0;
        self.live.clear();
        let version = self.cursor.version();
        if Some(version) > log.complete() {
            return false;
        }
        let cursor = log.cursor(version);
        cursor.map(|cursor| self.cursor = cursor).is_ok()
    }

    /// Takes at most `count` changes; whether all was delivered, or none when it must list.
    pub(crate) fn read(&mut self, count: usize) -> Result<Option<bool>, Error> {
        for _ in 0..count {
            let before = self.cursor.version();
            match self.cursor.next()? {
                Next::Idle => return Ok(Some(true)),
                Next::Reset => return Ok(None),
                Next::Change(change) => {
                    let key = change.stored.key.as_str().to_owned();
                    let version = change.stored.version.0;
                    assert!(self.last <= version, "versions do not go back");
                    assert!(before <= self.cursor.version());
                    self.last = version;
                    assert!(
                        self.live.insert((version, key.clone(), change.deleted)),
                        "nothing comes twice"
                    );
                    if let Some(previous) = &change.previous {
                        assert!(!change.replayed);
                        let was = self.cursor.log().read_previous(previous)?;
                        assert_eq!(self.objects.get(&key).map(|(_, o)| o), Some(&was));
                    } else if !change.replayed {
                        assert!(!self.objects.contains_key(&key), "it is new");
                    }
                    if change.deleted {
                        assert!(self.objects.remove(&key).is_some() || change.replayed);
                    } else {
                        let value = (version, change.stored.object);
                        self.objects.insert(key, value);
                    }
                }
            }
        }
        Ok(Some(false))
    }
}

/// An instant that goes on by hand.
pub(crate) struct Clock(pub(crate) Instant);

impl Clock {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn after(&mut self, seconds: u64) -> Instant {
        self.0 += Duration::from_secs(seconds);
        self.0
    }
}

/// A mirror with one complete log of `count` objects of `size` bytes, `/o000` and so on, at versions 1 to `count`.
pub(crate) async fn filled(flash: &Memory, count: u64, size: usize) -> (Rc<Mirror>, Rc<Log>) {
    let mirror = open(flash);
    let log = mirror
        .ensure(&collection("configmaps"), Duration::ZERO)
        .expect("a log");
    let mut writer = log.writer_wait().await;
    writer.begin(Some(&type_meta())).expect("a list");
    items(&mut writer, 1..=count, size).await;
    let version = ResourceVersion(count);
    let changed = writer.commit(version, &type_meta()).await;
    assert_eq!(changed.expect("a list").puts as u64, count);
    drop(writer);
    (mirror, log)
}

/// The key of object number `number`.
pub(crate) fn key(number: u64) -> ObjectKey {
    ObjectKey::new("", &format!("o{number:03}"))
}

/// Items of a list, each at its number's version.
pub(crate) async fn items(
    writer: &mut Writer,
    numbers: impl IntoIterator<Item = u64>,
    size: usize,
) {
    for number in numbers {
        let key = key(number);
        let object = object(&key, number, size);
        let item = writer.item(&key, ResourceVersion(number), true, &object);
        item.await.expect("an item");
    }
}

/// An event that puts object number `number` at `version`.
pub(crate) fn put(writer: &mut Writer, number: u64, version: u64, size: usize) {
    let key = key(number);
    let object = object(&key, version, size);
    let put = writer.put(&key, ResourceVersion(version), false, &object);
    put.expect("an event");
}

/// An event that deletes object number `number` at `version`.
pub(crate) fn delete(writer: &mut Writer, number: u64, version: u64) {
    let key = key(number);
    let object = object(&key, version, 0);
    let delete = writer.delete(&key, ResourceVersion(version), false, &object);
    delete.expect("an event");
}

/// Keeps the worker busy until what it gives is dropped, so that what is handed over meanwhile is under way for certain.
pub(crate) async fn busy_worker() -> mpsc::Sender<()> {
    let (busy, idle) = mpsc::channel();
    let job = worker::run(move || idle.recv().is_ok());
    let mut job = std::pin::pin!(job);
    assert!(smol::future::poll_once(&mut job).await.is_none());
    busy
}
