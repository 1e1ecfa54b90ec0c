//! The state folder: a flat set of named files that are appended to, synced, renamed and removed.
//!
//! [`Flash`] and [`File`] are traits so that tests can cut the power: [`memory::Flash`](memory) forgets what was not
//! synced. The real one is [`Disk`]. All calls block; what may take long is run on the worker thread, which is why both
//! traits are `Send + Sync`.
//!
//! What a caller may count on after a power cut: bytes that were synced stand ([`File::sync_data`]); a name that was
//! created, renamed or removed is so for certain only after [`Flash::sync_dir`]; of bytes that were written and not
//! synced any part may be there, may be missing or may read as something else.

use std::fs;
use std::io;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

pub mod memory;

/// A folder of files.
pub trait Flash: Send + Sync {
    /// The names of all files, in no order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes a new, empty file; one that was there under this name is emptied.
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Opens a file that exists, for reading and writing; where the medium is read only, for reading.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Gives a file another name; a file that had this name is gone (its readers go on reading it).
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file (its readers go on reading it).
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes what was created, renamed and removed survive a power cut.
    fn sync_dir(&self) -> io::Result<()>;
}

/// An open file. It is closed when the last clone of its `Arc` is dropped.
pub trait File: Send + Sync {
    /// Its length in bytes.
    fn size(&self) -> io::Result<u64>;
    /// Reads at `offset` until `buffer` is full or the file ends; how many bytes it was.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes` at `offset`, or fails, with any part of them written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Cuts the file to `size` bytes.
    fn truncate(&self, size: u64) -> io::Result<()>;
    /// Makes the bytes and the length survive a power cut.
    fn sync_data(&self) -> io::Result<()>;
}

/// A real folder.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// The folder at `path`, made when it is missing, readable by its owner only: Secrets lie in it.
    pub fn open(path: &Path) -> io::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)?;
        Ok(Self {
            folder: path.to_owned(),
        })
    }

    /// A name never leaves the folder.
    fn path(&self, name: &str) -> io::Result<PathBuf> {
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
            return Err(io::Error::new(ErrorKind::InvalidInput, "not a file name"));
        }
        Ok(self.folder.join(name))
    }
}

impl Flash for Disk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            // A name that is not UTF-8 is not one of ours.
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(self.path(name)?)?;
        Ok(Arc::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let path = self.path(name)?;
        let file = match fs::OpenOptions::new().read(true).write(true).open(&path) {
            // What can't be written any more can still be read, and a node may have to live on it.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied
                ) =>
            {
                fs::File::open(&path)?
            }
            file => file?,
        };
        Ok(Arc::new(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from)?, self.path(to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name)?)
    }

    fn sync_dir(&self) -> io::Result<()> {
        match fs::File::open(&self.folder)?.sync_all() {
            // Some file systems (FAT, some FUSE) know no sync of a folder; there is nothing more to be had there.
            Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
            synced => synced,
        }
    }
}

/// A medium that can't be used: it holds nothing and takes nothing.
#[derive(Debug)]
pub struct Absent;

impl Absent {
    fn refuse<T>(&self) -> io::Result<T> {
        Err(io::Error::other("there is no state folder"))
    }
}

impl Flash for Absent {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn create(&self, _: &str) -> io::Result<Arc<dyn File>> {
        self.refuse()
    }

    fn open(&self, _: &str) -> io::Result<Arc<dyn File>> {
        self.refuse()
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        self.refuse()
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        self.refuse()
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.refuse()
    }
}

/// Whether `error` is the medium's fault and not that of who named the folder.
pub fn is_fault(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ReadOnlyFilesystem | ErrorKind::StorageFull | ErrorKind::QuotaExceeded
    ) || error.raw_os_error() == Some(EIO)
}

/// The medium failed (`errno.h` of Linux, every architecture); std has no name for it.
const EIO: i32 = 5;

impl File for fs::File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match FileExt::read_at(self, rest, offset.saturating_add(filled as u64)) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        self.set_len(size)
    }

    fn sync_data(&self) -> io::Result<()> {
        fs::File::sync_data(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own under the target's temporary one, removed on drop.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("toono-flash-{}-{name}", std::process::id()));
            drop(fs::remove_dir_all(&path));
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    /// What every flash must do, tried on the real one and on the one for tests.
    fn behaves(flash: &dyn Flash) -> io::Result<()> {
        let file = flash.create("a")?;
        file.write_at(b"hello world", 0)?;
        file.write_at(b"W", 6)?;
        let mut buffer = [0; 20];
        assert_eq!(file.read_at(&mut buffer, 0)?, 11);
        assert_eq!(buffer.get(..11), Some(&b"hello World"[..]));
        assert_eq!(file.read_at(&mut buffer, 6)?, 5);
        assert_eq!(file.read_at(&mut buffer, 11)?, 0);
        assert_eq!(file.read_at(&mut buffer, 99)?, 0);
        file.truncate(5)?;
        file.sync_data()?;
        assert_eq!(flash.open("a")?.size()?, 5);
        assert_eq!(
            flash.open("b").err().map(|e| e.kind()),
            Some(ErrorKind::NotFound)
        );

        let over = flash.create("b")?;
        over.write_at(b"new", 0)?;
        flash.rename("b", "a")?;
        flash.sync_dir()?;
        assert_eq!(flash.list()?, ["a"]);
        assert_eq!(flash.open("a")?.size()?, 3);
        assert_eq!(file.size()?, 5, "a reader of the old file goes on");
        flash.remove("a")?;
        assert_eq!(over.size()?, 3);
        assert!(flash.list()?.is_empty());
        assert!(flash.remove("a").is_err());
        Ok(())
    }

    #[test]
    fn the_real_folder_and_the_one_for_tests_behave_alike() -> io::Result<()> {
        let folder = Folder::new("alike");
        behaves(&Disk::open(&folder.0.join("deeper"))?)?;
        behaves(&memory::Memory::default())
    }

    #[test]
    fn files_are_for_their_owner_and_names_stay_in_the_folder() -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let folder = Folder::new("owner");
        let disk = Disk::open(&folder.0)?;
        disk.create("a")?;
        assert_eq!(fs::metadata(&folder.0)?.permissions().mode() & 0o777, 0o700);
        assert_eq!(
            fs::metadata(folder.0.join("a"))?.permissions().mode() & 0o777,
            0o600
        );
        for name in ["", ".", "..", "../a", "a/b", "/a", ".a"] {
            assert!(disk.create(name).is_err(), "{name:?}");
        }
        Ok(())
    }
}
