//! Logs with a life of their own, written through the mirror to a flash in memory, and all that they ever said.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use toono::io::crypto::Key;
use toono::io::flash::memory::Memory;
use toono::k8s::collection::Collection;
use toono::k8s::object::ObjectKey;
use toono::k8s::object::ResourceVersion;
use toono::k8s::resource::GroupVersionResource;
use toono::state::mirror::Error;
use toono::state::mirror::Mirror;
use toono::state::mirror::Options;
use toono::state::mirror::TypeMeta;
use toono::state::mirror::Writer;
use toono::wire::object;

use crate::fuzz::make::below;
use crate::fuzz::make::one_in;
use crate::fuzz::make::pick;
use crate::support::random::Random;

/// Key → version and bytes.
pub(crate) type Objects = BTreeMap<String, (u64, Vec<u8>)>;

/// A file, and all that its log ever said, in order; none: unknown.
pub(crate) struct Base {
    /// The file.
    pub(crate) bytes: Vec<u8>,
    /// What the file was at moments before, and the files before it: what a stale sector may hold.
    pub(crate) before: Vec<Vec<u8>>,
    /// In order; none: unknown.
    pub(crate) history: Vec<Option<(u64, Objects)>>,
}

const BASES: u64 = 24;

pub(crate) fn bases() -> &'static [Base] {
    static BASES_MADE: OnceLock<Vec<Base>> = OnceLock::new();
    BASES_MADE.get_or_init(|| {
        (0..BASES)
            .map(|seed| smol::block_on(base(seed)).expect("a flash in memory does not fail"))
            .collect()
    })
}

pub(crate) fn collection() -> Collection {
    Collection {
        resource: GroupVersionResource::new("", "v1", "configmaps"),
        namespace: None,
        labels: Default::default(),
        fields: Default::default(),
        encoding: Default::default(),
        credential: Default::default(),
    }
}

fn type_meta() -> TypeMeta {
    TypeMeta {
        kind: "ConfigMap".into(),
        api_version: "v1".into(),
        typed: true,
        encoding: Default::default(),
    }
}

pub(crate) fn open(flash: &Memory) -> Rc<Mirror> {
    let options = Options {
        sync_window: Duration::ZERO,
        stamp: |object, version| object::with_resource_version(object, version).ok(),
        same: |_, _| true,
        cap: 64 << 20,
    };
    Mirror::open(Arc::new(flash.clone()), options, Key::new(&[7; 32]))
        .expect("the folder can be listed")
}

pub(crate) fn object(key: &str, version: u64, size: usize) -> Vec<u8> {
    let (name, fill) = (key.trim_start_matches('/'), "x".repeat(size));
    format!(r#"{{"metadata":{{"name":"{name}","resourceVersion":"{version}"}},"data":{{"a":"{fill}"}}}}"#).into_bytes()
}

pub(crate) fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).expect("a key")
}

pub(crate) async fn list(
    writer: &mut Writer,
    version: u64,
    objects: &Objects,
) -> Result<(), Error> {
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
    let mut before = Vec::new();
    for _ in 0..60 {
        if one_in(random, 12) {
            before.extend(file(&flash));
        }
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
                before.extend(file(&flash));
                writer.reset()?;
                objects.clear();
                history.push(None);
            }
            _ => mirror.close().await?,
        }
    }
    Ok(Base {
        bytes: file(&flash).unwrap_or_default(),
        before,
        history,
    })
}

fn file(flash: &Memory) -> Option<Vec<u8>> {
    flash.bytes(flash.list_names().first()?)
}
