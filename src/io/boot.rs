//! Whether the machine was booted since this process ran last.
//!
//! The kernel names each boot (`/proc/sys/kernel/random/boot_id`); the last one that it ran in is kept in a file of the
//! state folder, written once a boot. Where the kernel has no name, or none was kept yet, no reboot is claimed.

use std::cell::Cell;
use std::fs;
use std::io;
use std::sync::Arc;

use crate::io::flash::Flash;
use crate::io::worker;

/// The name of the file in the state folder, and of one that is not whole yet.
pub const NAME: &str = "boot";
/// See [`NAME`].
pub const NEW: &str = "boot.new";
/// A boot's name is a UUID.
const LEN: usize = 36;

/// The boot that this is.
pub struct Boot {
    folder: Arc<dyn Flash>,
    name: Option<[u8; LEN]>,
    kept: Cell<Option<[u8; LEN]>>,
}

impl Boot {
    /// This boot, and what was kept in `folder`.
    pub fn read(folder: Arc<dyn Flash>) -> Self {
        Self {
            name: fs::read("/proc/sys/kernel/random/boot_id")
                .ok()
                .and_then(|text| text.first_chunk().copied()),
            kept: Cell::new(kept(&*folder)),
            folder,
        }
    }

    /// Whether the machine was booted since [`keep`](Self::keep) was last called.
    pub fn is_new(&self) -> bool {
        self.name.is_some() && self.kept.get().is_some_and(|kept| Some(kept) != self.name)
    }

    /// Keeps the name of this boot. What can't be kept is said.
    pub async fn keep(&self) {
        let Some(name) = self.name.filter(|name| self.kept.get() != Some(*name)) else {
            return;
        };
        self.kept.set(Some(name));
        let folder = Arc::clone(&self.folder);
        if let Err(error) = worker::run(move || write(&*folder, &name)).await {
            log::warn!("the boot can't be kept, so a reboot may not be noticed: {error}");
        }
    }
}

fn kept(folder: &dyn Flash) -> Option<[u8; LEN]> {
    let mut bytes = [0; LEN];
    let read = folder.open(NAME).ok()?.read_at(&mut bytes, 0).ok()?;
    (read == LEN).then_some(bytes)
}

/// Whole or not at all.
fn write(folder: &dyn Flash, name: &[u8]) -> io::Result<()> {
    let file = folder.create(NEW)?;
    file.write_at(name, 0)?;
    file.sync_data()?;
    folder.rename(NEW, NAME)?;
    folder.sync_dir()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::flash::Absent;
    use crate::io::flash::memory::Memory;

    #[test]
    fn a_boot_is_new_when_another_was_kept() {
        let folder: Arc<dyn Flash> = Arc::new(Memory::default());
        let boot = Boot::read(Arc::clone(&folder));
        assert!(!boot.is_new(), "nothing was kept");
        smol::block_on(boot.keep());
        assert!(!boot.is_new() && !Boot::read(Arc::clone(&folder)).is_new());
        write(&*folder, &[b'x'; LEN]).expect("written");
        let boot = Boot::read(Arc::clone(&folder));
        assert!(boot.is_new());
        smol::block_on(boot.keep());
        assert!(!boot.is_new() && !Boot::read(Arc::clone(&folder)).is_new());
    }

    #[test]
    fn what_is_torn_or_on_dead_flash_is_no_reboot() {
        let folder: Arc<dyn Flash> = Arc::new(Memory::default());
        write(&*folder, b"torn").expect("written");
        assert!(!Boot::read(folder).is_new());
        let boot = Boot::read(Arc::new(Absent));
        smol::block_on(boot.keep());
        assert!(!boot.is_new());
    }
}
