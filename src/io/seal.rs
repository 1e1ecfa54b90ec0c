//! The file of the key that seals: 32 random bytes.
//!
//! It lies in the state folder, made when it is missing, or elsewhere, where it is only read: on a tmpfs that a TPM fills at
//! boot, say, so that a stolen flash tells nothing. A file in the state folder protects what is copied out of the folder
//! without it (logs and backups that leave the key out); it can't protect from who has the whole flash.

use std::fs;
use std::io;
use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::io::crypto;
use crate::io::crypto::KEY_LEN;
use crate::io::crypto::Key;

/// Reads the key at `path`, which somebody else has put there. An error says what is wrong with the file and what to do.
pub fn read(path: &Path) -> io::Result<Key> {
    let file = fs::File::open(path).map_err(|error| {
        let help = "it must be there before the start";
        io::Error::new(error.kind(), format!("can't be read: {error}; {help}"))
    })?;
    let mode = file.metadata()?.permissions().mode();
    if mode & 0o007 != 0 {
        let why = format!(
            "everybody may use it (mode {:04o}): chmod 600, and put a new key there if others have been on this machine",
            mode & 0o7777
        );
        return Err(io::Error::new(ErrorKind::InvalidData, why));
    }
    let mut bytes = Vec::new();
    // One byte more than wanted shows that there are more.
    file.take(KEY_LEN as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| io::Error::new(error.kind(), format!("can't be read: {error}")))?;
    match <&[u8; KEY_LEN]>::try_from(&bytes[..]) {
        Ok(bytes) => Ok(Key::new(bytes)),
        Err(_) => Err(io::Error::new(
            ErrorKind::InvalidData,
            format!(
                "must hold exactly {KEY_LEN} random bytes: head -c {KEY_LEN} /dev/urandom makes them"
            ),
        )),
    }
}

/// The key in the state folder, made when there is none that can be used: what was sealed before is lost then.
///
/// Never fails but for want of chance: a node whose flash has died must not lose the cloud as well. What can't be kept is
/// used until the end of the process, and said.
pub fn own(path: &Path) -> io::Result<Key> {
    match read_own(path) {
        Ok(key) => return Ok(key),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => log::error!("the seal key is replaced: {error} file={}", path.display()),
    }
    let mut bytes = [0; KEY_LEN];
    crypto::random(&mut bytes)?;
    if let Err(error) = keep(path, &bytes) {
        log::error!(
            "the seal key can't be kept, so no secret and no token will outlive this process: {error} file={}",
            path.display()
        );
    }
    Ok(Key::new(&bytes))
}

/// The folder is its owner's alone, so nobody else has read a key whose mode was loosened in it.
fn read_own(path: &Path) -> io::Result<Key> {
    if fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
        log::warn!("the seal key is made its owner's file={}", path.display());
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    }
    read(path)
}

/// Puts a new key there, whole or not at all, safe from a power cut before anything is sealed with it.
fn keep(path: &Path, bytes: &[u8; KEY_LEN]) -> io::Result<()> {
    let new = path.with_extension("new");
    // Whatever was left there under whatever mode.
    drop(fs::remove_file(&new));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    match path.parent().map(fs::File::open) {
        // Some file systems know no sync of a folder.
        Some(folder) => match folder?.sync_all() {
            Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
            synced => synced,
        },
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("toono-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).expect("a folder");
            Self(path)
        }

        fn put(&self, name: &str, bytes: &[u8], mode: u32) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, bytes).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("mine");
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    fn why(path: &Path) -> String {
        read(path).expect_err("wrong").to_string()
    }

    #[test]
    fn a_key_of_somebody_elses_is_right_or_it_is_said_what_is_wrong() {
        let folder = Folder::new("seal-read");
        for (mode, bytes) in [(0o600, [1; 32]), (0o400, [2; 32]), (0o640, [3; 32])] {
            let path = folder.put("key", &bytes, mode);
            assert_eq!(read(&path).expect("right").id(), Key::new(&bytes).id());
            fs::remove_file(path).expect("mine");
        }
        for len in [0, 31, 33, 64] {
            let path = folder.put("len", &vec![1; len], 0o600);
            assert!(why(&path).starts_with("must hold exactly 32 random bytes"));
        }
        for mode in [0o644, 0o602, 0o777] {
            let path = folder.put("open", &[1; 32], mode);
            assert!(why(&path).contains("chmod 600"), "{}", why(&path));
        }
        let none = folder.0.join("none");
        assert!(why(&none).ends_with("it must be there before the start"));
        assert!(!none.exists(), "it is not made");
    }

    #[test]
    fn the_own_key_is_made_once_for_its_owner_only_and_made_anew_when_it_is_no_key() {
        let folder = Folder::new("seal-own");
        let path = folder.0.join("seal.key");
        let first = own(&path).expect("made");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(own(&path).expect("kept").id(), first.id());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("mine");
        assert_eq!(own(&path).expect("kept").id(), first.id());
        assert_eq!(mode(&path), 0o600);
        folder.put("seal.key", b"torn", 0o600);
        let second = own(&path).expect("made");
        assert_ne!(second.id(), first.id());
        assert_eq!(own(&path).expect("kept").id(), second.id());
        let names: Vec<_> = fs::read_dir(&folder.0).expect("there").collect();
        assert_eq!(names.len(), 1, "{names:?}");
        let nowhere = folder.0.join("no/such/folder");
        assert_ne!(own(&nowhere).expect("for now").id(), second.id());
    }
}
