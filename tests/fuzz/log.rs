//! The log's reader: files as the mirror writes them, damaged. What is served afterwards is a state that was committed
//! once, or nothing; what is replayed leads there; and the log goes on.
//!
//! An input is the number of an undamaged file, and the damaged one.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use toono::io::flash::memory::Memory;
use toono::k8s::collection::Collection;
use toono::k8s::object::ObjectKey;
use toono::k8s::object::ResourceVersion;
use toono::k8s::resource::GroupVersionResource;
use toono::state::mirror::Error;
use toono::state::mirror::Log;
use toono::state::mirror::Lookup;
use toono::state::mirror::Mirror;
use toono::state::mirror::Next;
use toono::state::mirror::Options;
use toono::state::mirror::TypeMeta;
use toono::state::mirror::Writer;
use toono::wire::object;

use crate::fuzz::make;
use crate::fuzz::make::below;
use crate::fuzz::make::one_in;
use crate::fuzz::make::pick;
use crate::fuzz::random::Random;

/// Key → version and bytes.
type Objects = BTreeMap<String, (u64, Vec<u8>)>;

/// A file, and all that its log ever said, in order; none: unknown.
struct Base {
    bytes: Vec<u8>,
    history: Vec<Option<(u64, Objects)>>,
}

const BASES: u64 = 24;

fn bases() -> &'static [Base] {
    static BASES_MADE: OnceLock<Vec<Base>> = OnceLock::new();
    BASES_MADE.get_or_init(|| {
        (0..BASES)
            .map(|seed| smol::block_on(base(seed)).expect("a flash in memory does not fail"))
            .collect()
    })
}

fn collection() -> Collection {
    Collection {
        resource: GroupVersionResource::new("", "v1", "configmaps"),
        namespace: None,
        labels: Default::default(),
        fields: Default::default(),
        credential: Default::default(),
    }
}

fn type_meta() -> TypeMeta {
    TypeMeta {
        kind: "ConfigMap".into(),
        api_version: "v1".into(),
        typed: true,
    }
}

fn open(flash: &Memory) -> Rc<Mirror> {
    let options = Options {
        sync_window: Duration::ZERO,
        stamp: |object, version| object::with_resource_version(object, version).ok(),
    };
    Mirror::open(Arc::new(flash.clone()), options).expect("the folder can be listed")
}

fn object(key: &str, version: u64, size: usize) -> Vec<u8> {
    let (name, fill) = (key.trim_start_matches('/'), "x".repeat(size));
    format!(r#"{{"metadata":{{"name":"{name}","resourceVersion":"{version}"}},"data":{{"a":"{fill}"}}}}"#).into_bytes()
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).expect("a key")
}

async fn list(writer: &mut Writer, version: u64, objects: &Objects) -> Result<(), Error> {
    writer.begin(Some(&type_meta()))?;
    for (name, (version, object)) in objects {
        writer
            .item(&key(name), ResourceVersion(*version), true, object)
            .await?;
    }
    writer
        .commit(ResourceVersion(version), &type_meta())
        .await
        .map(drop)
}

/// A log with a life of its own: lists, events, lists that were broken off, restarts, syncs.
async fn base(seed: u64) -> Result<Base, Error> {
    let random = &mut Random::seeded(seed);
    let size = pick(random, &[10, 60, 300]);
    let flash = Memory::default();
    let mut mirror = open(&flash);
    let mut log = mirror.ensure(&collection(), Duration::ZERO)?;
    let (mut version, mut objects) = (100, Objects::new());
    let mut history = vec![None];
    for _ in 0..60 {
        version += 1 + random.below(3);
        let name = format!("/o{}", random.below(10));
        let changed = object(&name, version, below(random, size));
        let mut writer = log.writer_wait().await;
        match random.below(12) {
            0..=5 if log.complete().is_some() => {
                let at = ResourceVersion(version);
                if one_in(random, 3) && objects.remove(&name).is_some() {
                    writer.delete(&key(&name), at, true, &changed)?;
                } else {
                    writer.put(&key(&name), at, true, &changed)?;
                    objects.insert(name, (version, changed));
                }
                history.push(Some((version, objects.clone())));
            }
            0..=7 => {
                objects.insert(name, (version, changed));
                if one_in(random, 2) {
                    objects.pop_first();
                }
                list(&mut writer, version, &objects).await?;
                history.push(Some((version, objects.clone())));
            }
            8 => {
                // Enough to have a batch written that is then cut off.
                writer.begin(None)?;
                let at = ResourceVersion(version);
                writer
                    .item(&key("/large"), at, true, &[b'{'; 70_000])
                    .await?;
            }
            9 => {
                writer.advance(ResourceVersion(version));
                mirror.close().await?;
                if log.complete() == Some(ResourceVersion(version)) {
                    history.push(Some((version, objects.clone())));
                }
            }
            10 => {
                drop(writer);
                mirror = open(&flash);
                log = mirror.ensure(&collection(), Duration::ZERO)?;
            }
            _ if one_in(random, 9) => {
                writer.reset()?;
                objects.clear();
                history.push(None);
            }
            _ => mirror.close().await?,
        }
    }
    let bytes = flash
        .list_names()
        .first()
        .and_then(|name| flash.bytes(name));
    Ok(Base {
        bytes: bytes.unwrap_or_default(),
        history,
    })
}

/// A damaged file, the number of the undamaged one in front.
pub(crate) fn make(random: &mut Random) -> Vec<u8> {
    let number = below(random, bases().len());
    let mut bytes = bases()[number].bytes.clone();
    for _ in 0..1 + random.below(3) {
        damage(random, &mut bytes);
    }
    bytes.insert(0, number as u8);
    bytes
}

fn damage(random: &mut Random, bytes: &mut Vec<u8>) {
    let sector = pick(random, &[64, 512, 4096]);
    let at = below(random, bytes.len() + 1);
    let aligned = at / sector * sector;
    let end = bytes.len().min(aligned + sector);
    match random.below(10) {
        0 | 1 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        2 if at < bytes.len() => bytes[at] = random.next() as u8,
        3 => bytes.truncate(at),
        4 => {
            let more = make::bytes(random, 200);
            bytes.extend(if one_in(random, 2) {
                more
            } else {
                vec![0; 700]
            });
        }
        5 => bytes[aligned..end].fill(pick(random, &[0, 0xff])),
        6 | 7 => {
            // A sector of this file, or of another one, in the place of this one.
            let other = if one_in(random, 2) {
                bytes.clone()
            } else {
                bases()[below(random, bases().len())].bytes.clone()
            };
            let from = below(random, other.len() / sector + 1) * sector;
            let other = &other[from..other.len().min(from + end - aligned)];
            bytes[aligned..aligned + other.len()].copy_from_slice(other);
        }
        8 => {
            // Two sectors change places.
            let with = below(random, bytes.len() / sector + 1) * sector;
            for n in 0..sector {
                if aligned + n < bytes.len() && with + n < bytes.len() {
                    bytes.swap(aligned + n, with + n);
                }
            }
        }
        _ => drop(bytes.drain(aligned..end)),
    }
}

fn content(log: &Rc<Log>) -> Option<(u64, Objects)> {
    let mut snapshot = log.snapshot().expect("what was found can be read")?;
    let mut objects = Objects::new();
    while let Some(stored) = snapshot.next() {
        let stored = stored.expect("what was found can be read");
        let name = stored.key.as_str().to_owned();
        let value = (stored.version.0, stored.object);
        assert!(objects.insert(name, value).is_none(), "each once");
    }
    assert_eq!(objects.len(), log.len());
    Some((snapshot.version().0, objects))
}

/// Opens the damaged file, looks at all that it says, and goes on from there.
pub(crate) fn check(random: &mut Random, input: &[u8]) {
    let (number, bytes) = input.split_first().expect("a number");
    let base = &bases()[usize::from(*number)];
    let flash = Memory::default();
    let names = [
        "configmaps-00000000.log",
        "a.log",
        "-ffffffff.log",
        "x-zz.log",
        ".log",
    ];
    flash.put(pick(random, &names), bytes);
    let mirror = open(&flash);
    let found = mirror.find(&collection());
    let served = found.as_ref().and_then(content);
    let place = base.history.iter().rposition(|state| *state == served);
    let said = served.as_ref().map(|(version, _)| version);
    let place = place.unwrap_or_else(|| panic!("no such state was ever committed: C {said:?}"));
    if let (Some(log), Some((version, objects))) = (&found, &served) {
        looked_up(log, objects);
        replayed(log, &base.history[..place], *version, objects);
    }
    if one_in(random, 4) {
        smol::block_on(goes_on(&flash, &mirror, served));
    }
}

fn looked_up(log: &Rc<Log>, objects: &Objects) {
    for number in 0..10 {
        let name = format!("/o{number}");
        let found = match log.lookup(&key(&name)).expect("readable") {
            Lookup::Found(stored) => Some((stored.version.0, stored.object)),
            Lookup::Absent => None,
            Lookup::Unknown => panic!("it is complete"),
        };
        assert_eq!(found.as_ref(), objects.get(&name));
    }
}

/// From each state before, back to the last reset, what is replayed leads to what is served.
fn replayed(log: &Rc<Log>, before: &[Option<(u64, Objects)>], version: u64, objects: &Objects) {
    for state in before.iter().rev().take(12) {
        let Some((from, known)) = state else { break };
        let Ok(mut cursor) = log.cursor(ResourceVersion(*from)) else {
            continue;
        };
        let mut known = known.clone();
        while let Next::Change(change) = cursor.next().expect("readable") {
            let name = change.stored.key.as_str().to_owned();
            assert!(change.stored.version.0 <= version);
            if change.deleted {
                known.remove(&name);
            } else {
                known.insert(name, (change.stored.version.0, change.stored.object));
            }
        }
        assert_eq!(&known, objects, "replayed from {from} to {version}");
    }
}

/// The next list stands, and stands after a restart too.
async fn goes_on(flash: &Memory, mirror: &Mirror, served: Option<(u64, Objects)>) {
    let (version, mut objects) = served.unwrap_or_default();
    let version = version + 1;
    objects.insert("/new".to_owned(), (version, object("/new", version, 9)));
    let log = mirror.ensure(&collection(), Duration::ZERO).expect("a log");
    let mut writer = log.writer_wait().await;
    list(&mut writer, version, &objects).await.expect("a list");
    assert_eq!(content(&log).as_ref(), Some(&(version, objects.clone())));
    let found = open(&flash.after_kill()).find(&collection());
    assert_eq!(found.as_ref().and_then(content), Some((version, objects)));
}
