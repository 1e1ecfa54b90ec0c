//! A flash in memory, for tests: it keeps what is seen now apart from what a power cut would leave.
//!
//! Every change counts as one operation. A test may let the power go at any of them ([`Memory::cut_at`]) and then look
//! at what a machine would find after it ([`Memory::after_power_cut`]), or let one file fail ([`Memory::fail`]).

use std::collections::BTreeMap;
use std::io;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::io::flash::File;
use crate::io::flash::Flash;

/// A folder in memory. Clones are the same folder.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<Folder>>);

#[derive(Debug, Default)]
struct Folder {
    /// Names as they are seen, and as they survive.
    live: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    nodes: Vec<Node>,
    operations: u64,
    cut_at: Option<u64>,
    failing: Option<String>,
}

/// The bytes of one file as they are seen, and as they were at the last sync.
#[derive(Clone, Debug, Default)]
struct Node {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// What stood behind a cut since the last sync: the cut may come undone.
    cut_off: Vec<u8>,
}

#[derive(Debug)]
struct Open {
    folder: Memory,
    node: usize,
}

impl Memory {
    /// How many changes were asked for until now (writes, cuts, syncs, and what is done to names).
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// The power goes at operation number `operation` (0 is the first): half of it happens if it is a write, and
    /// everything from then on fails. `None`: never.
    pub fn cut_at(&self, operation: Option<u64>) {
        self.lock().cut_at = operation;
    }

    /// Every change of the file called `name` fails from now on, a write after its first half.
    pub fn fail(&self, name: Option<&str>) {
        self.lock().failing = name.map(str::to_owned);
    }

    /// Another folder: what a machine finds when it starts after a power cut now. Synced bytes stand. Of what was not
    /// synced, `random` decides for each file: nothing, all, a part of it, or all with holes of zeros or rubbish; and
    /// whether unsynced names are the old or the new ones.
    pub fn after_power_cut(&self, random: &mut Random) -> Self {
        let folder = self.lock();
        let names = if random.below(2) == 0 {
            &folder.durable
        } else {
            &folder.live
        };
        let nodes = folder.nodes.iter().map(|node| {
            let kept = torn(node, random);
            Node {
                live: kept.clone(),
                durable: kept,
                cut_off: Vec::new(),
            }
        });
        Self(Arc::new(Mutex::new(Folder {
            live: names.clone(),
            durable: names.clone(),
            nodes: nodes.collect(),
            ..Folder::default()
        })))
    }

    /// Another folder with the same files, all synced: what another process finds after this one was killed.
    pub fn after_kill(&self) -> Self {
        let folder = self.lock();
        let nodes = folder.nodes.iter().map(|node| Node {
            live: node.live.clone(),
            durable: node.live.clone(),
            cut_off: Vec::new(),
        });
        Self(Arc::new(Mutex::new(Folder {
            live: folder.live.clone(),
            durable: folder.live.clone(),
            nodes: nodes.collect(),
            ..Folder::default()
        })))
    }

    /// The bytes of a file.
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let folder = self.lock();
        let node = folder.live.get(name)?;
        Some(folder.nodes.get(*node)?.live.clone())
    }

    /// The names of all files.
    pub fn list_names(&self) -> Vec<String> {
        self.lock().live.keys().cloned().collect()
    }

    /// Puts a file there, synced.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let mut folder = self.lock();
        let node = folder.nodes.len();
        folder.nodes.push(Node {
            live: bytes.to_vec(),
            durable: bytes.to_vec(),
            cut_off: Vec::new(),
        });
        folder.live.insert(name.to_owned(), node);
        folder.durable.insert(name.to_owned(), node);
    }

    fn lock(&self) -> MutexGuard<'_, Folder> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is left of one file.
fn torn(node: &Node, random: &mut Random) -> Vec<u8> {
    let mut kept = match random.below(4) {
        0 => return node.durable.clone(),
        1 => return node.live.clone(),
        _ => node.live.clone(),
    };
    // What was written over or behind the synced bytes may be there or not, sector by sector.
    let same = kept
        .iter()
        .zip(&node.durable)
        .take_while(|(a, b)| a == b)
        .count();
    if let Some(behind) = node.cut_off.get(kept.len()..) {
        kept.extend_from_slice(behind);
    }
    kept.truncate(same + random.below(kept.len() - same + 1));
    let mut at = same;
    while at < kept.len() {
        let sector = (at / 64 + 1) * 64;
        let end = sector.min(kept.len());
        let fate = random.below(12);
        for (byte, at) in kept.get_mut(at..end).into_iter().flatten().zip(at..) {
            match fate {
                0 => *byte = 0,
                1 => *byte = random.below(256) as u8,
                2 | 3 => *byte = node.cut_off.get(at).copied().unwrap_or(*byte),
                _ => {}
            }
        }
        at = end;
    }
    kept
}

impl Folder {
    /// Counts an operation on `name`; whether it may happen.
    fn operation(&mut self, name: Option<&str>) -> io::Result<()> {
        let number = self.operations;
        self.operations += 1;
        if self.cut_at.is_some_and(|at| at <= number) {
            return Err(io::Error::other("the power is off"));
        }
        if name.is_some() && name == self.failing.as_deref() {
            return Err(io::Error::other("the flash is worn out"));
        }
        Ok(())
    }

    fn name_of(&self, node: usize) -> Option<String> {
        let mut named = self.live.iter().filter(|(_, held)| **held == node);
        named.next().map(|(name, _)| name.clone())
    }

    /// Counts an operation on an open file.
    fn change(&mut self, node: usize) -> (io::Result<()>, &mut Node) {
        // A write that the power goes in the middle of is half there; one after that is not there at all.
        let name = self.name_of(node);
        let may = self.operation(name.as_deref());
        (may, &mut self.nodes[node])
    }
}

fn missing() -> io::Error {
    io::Error::from(ErrorKind::NotFound)
}

impl Flash for Memory {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.list_names())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut folder = self.lock();
        folder.operation(Some(name))?;
        let node = match folder.live.get(name) {
            Some(node) => *node,
            None => folder.nodes.len(),
        };
        if let Some(node) = folder.nodes.get_mut(node) {
            node.live.clear();
        } else {
            folder.nodes.push(Node::default());
        }
        folder.live.insert(name.to_owned(), node);
        drop(folder);
        Ok(Arc::new(Open {
            folder: self.clone(),
            node,
        }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let node = *self.lock().live.get(name).ok_or_else(missing)?;
        Ok(Arc::new(Open {
            folder: self.clone(),
            node,
        }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut folder = self.lock();
        folder.operation(Some(from))?;
        let node = folder.live.remove(from).ok_or_else(missing)?;
        folder.live.insert(to.to_owned(), node);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut folder = self.lock();
        folder.operation(Some(name))?;
        folder.live.remove(name).map(drop).ok_or_else(missing)
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut folder = self.lock();
        folder.operation(None)?;
        folder.durable = folder.live.clone();
        Ok(())
    }
}

impl File for Open {
    fn size(&self) -> io::Result<u64> {
        Ok(self.folder.lock().nodes[self.node].live.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let folder = self.folder.lock();
        let live = &folder.nodes[self.node].live;
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let there = live.get(from..).unwrap_or_default();
        let read = there.len().min(buffer.len());
        buffer[..read].copy_from_slice(&there[..read]);
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut folder = self.folder.lock();
        let first = folder.cut_at.is_none_or(|at| folder.operations <= at);
        let (may, node) = folder.change(self.node);
        let written = match (&may, first) {
            (Ok(()), _) => bytes,
            (Err(_), true) => &bytes[..bytes.len() / 2],
            (Err(_), false) => &[],
        };
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let end = from + written.len();
        if !written.is_empty() && node.live.len() < end {
            node.live.resize(end, 0);
        }
        if let Some(place) = node.live.get_mut(from..end) {
            place.copy_from_slice(written);
        }
        may
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        let mut folder = self.folder.lock();
        let (may, node) = folder.change(self.node);
        may?;
        let size = usize::try_from(size).map_err(io::Error::other)?;
        if node.cut_off.len() < node.live.len() {
            node.cut_off = node.live.clone();
        }
        node.live.resize(size, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut folder = self.folder.lock();
        let (may, node) = folder.change(self.node);
        may?;
        node.durable = node.live.clone();
        node.cut_off.clear();
        Ok(())
    }
}

/// A small repeatable source of numbers (xorshift64*).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `limit` (0 when that is 0).
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let word = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        (word as usize).checked_rem(limit).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_cut_takes_what_was_not_synced_and_nothing_else() -> io::Result<()> {
        let flash = Memory::default();
        let file = flash.create("a")?;
        file.write_at(b"synced", 0)?;
        file.sync_data()?;
        flash.sync_dir()?;
        file.write_at(b" and not", 6)?;
        flash.create("b")?;
        let mut lengths = std::collections::BTreeSet::new();
        for seed in 0..100 {
            let found = flash.after_power_cut(&mut Random::new(seed));
            let bytes = found.bytes("a").ok_or_else(missing)?;
            assert!(bytes.starts_with(b"synced"));
            lengths.insert((bytes.len(), found.list()?.len()));
        }
        assert!(lengths.contains(&(6, 1)) && lengths.contains(&(14, 2)) && lengths.len() > 6);
        assert_eq!(
            flash.after_kill().bytes("a").as_deref(),
            Some(&b"synced and not"[..])
        );
        Ok(())
    }

    #[test]
    fn the_power_goes_in_the_middle_of_a_write() -> io::Result<()> {
        let flash = Memory::default();
        let file = flash.create("a")?;
        flash.cut_at(Some(flash.operations()));
        assert!(file.write_at(b"12345678", 0).is_err());
        assert!(file.write_at(b"x", 4).is_err() && file.sync_data().is_err());
        assert!(flash.remove("a").is_err());
        assert_eq!(flash.bytes("a").as_deref(), Some(&b"1234"[..]));
        Ok(())
    }

    #[test]
    fn one_file_fails_and_the_others_do_not() -> io::Result<()> {
        let flash = Memory::default();
        let (bad, good) = (flash.create("bad")?, flash.create("good")?);
        flash.fail(Some("bad"));
        assert!(bad.write_at(b"12", 0).is_err() && bad.sync_data().is_err());
        good.write_at(b"12", 0)?;
        flash.fail(None);
        bad.write_at(b"12", 0)
    }
}
