//! One process a folder.

use std::fs;
use std::io;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::FlockOperation;

/// The name of the file in the folder. Nothing is ever written to it.
pub const NAME: &str = "lock";

/// A lock on a folder, held until this is dropped or the process ends, however it ends. Children do not inherit it.
#[derive(Debug)]
pub struct Lock {
    _file: fs::File,
}

/// Locks `folder`; none when another process has.
pub fn take(folder: &Path) -> io::Result<Option<Lock>> {
    let path = folder.join(NAME);
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        // A medium that can't be written any more can still be locked.
        .or_else(|error| fs::File::open(&path).map_err(|_| error))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(io::Error::from)
    {
        Ok(()) => Ok(Some(Lock { _file: file })),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_locked_once_until_the_lock_is_dropped() -> io::Result<()> {
        let folder = std::env::temp_dir().join(format!("toono-lock-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let held = take(&folder)?.expect("nobody has it");
        assert!(take(&folder)?.is_none());
        drop(held);
        assert!(take(&folder)?.is_some());
        fs::remove_dir_all(&folder)?;
        assert_eq!(
            take(&folder).err().map(|error| error.kind()),
            Some(ErrorKind::NotFound)
        );
        Ok(())
    }
}
