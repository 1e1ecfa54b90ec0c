//! The log's reader: files as the mirror writes them, damaged. What is served afterwards is a state that was committed
//! once, or nothing; what is replayed leads there; and the log goes on.
//!
//! An input is the number of an undamaged file, and the damaged one.

use std::rc::Rc;
use std::time::Duration;

use toono::io::flash::memory::Memory;
use toono::k8s::object::ResourceVersion;
use toono::state::mirror::Log;
use toono::state::mirror::Lookup;
use toono::state::mirror::Mirror;
use toono::state::mirror::Next;

use crate::fuzz::life::Objects;
use crate::fuzz::life::bases;
use crate::fuzz::life::collection;
use crate::fuzz::life::key;
use crate::fuzz::life::list;
use crate::fuzz::life::object;
use crate::fuzz::life::open;
use crate::fuzz::make;
use crate::fuzz::make::below;
use crate::fuzz::make::one_in;
use crate::fuzz::make::pick;
use crate::support::random::Random;

/// A damaged file, the number of the undamaged one in front.
pub(crate) fn make(random: &mut Random) -> Vec<u8> {
    let number = below(random, bases().len());
    let mut bytes = bases()[number].bytes.clone();
    for _ in 0..1 + random.below(3) {
        damage(random, &bases()[number].before, &mut bytes);
    }
    bytes.insert(0, number as u8);
    bytes
}

fn damage(random: &mut Random, before: &[Vec<u8>], bytes: &mut Vec<u8>) {
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
            // Another sector of this file, or what stood there once, in the place of this one.
            let other = if one_in(random, 2) || before.is_empty() {
                bytes.clone()
            } else {
                pick(random, before)
            };
            let from = match random.below(2) {
                0 => aligned,
                _ => below(random, other.len() / sector + 1) * sector,
            };
            let from = from.min(other.len());
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
