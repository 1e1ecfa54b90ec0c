//! The file of the key that seals: 32 random bytes.
//!
//! It lies in the state folder, made when it is missing, or elsewhere, where it is only read: on a tmpfs that a TPM fills at
//! boot, say, so that a stolen flash tells nothing. A file in the state folder protects what is copied out of the folder
//! without it (logs and backups that leave the key out); it can't protect from who has the whole flash.

use std::fs;
use std::io;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::io::crypto;
use crate::io::crypto::KEY_LEN;
use crate::io::crypto::Key;
use crate::io::flash::File;
use crate::io::flash::Flash;

/// The name of the file in the state folder, and of one that is not whole yet.
pub const NAME: &str = "seal.key";
/// See [`NAME`].
pub const NEW: &str = "seal.new";

/// Reads the key at `path`, which somebody else has put there. An error says what is wrong with the file and what to do.
pub fn read(path: &Path) -> io::Result<Key> {
    let file = fs::File::open(path).map_err(|error| {
        io::Error::other(format!(
            "can't be read: {error}; it must be there before the start"
        ))
    })?;
    if file.metadata()?.permissions().mode() & 0o007 != 0 {
        return Err(io::Error::other(
            "everybody may use it: chmod 600, and put a new key there if others have been on this machine",
        ));
    }
    key(&file)?.ok_or_else(|| {
        io::Error::other("must hold exactly 32 random bytes: head -c 32 /dev/urandom makes them")
    })
}

/// The key in a file; none when it is not as long as one.
fn key(file: &dyn File) -> io::Result<Option<Key>> {
    // One byte more than wanted shows that there are more.
    let mut bytes = [0; KEY_LEN + 1];
    let read = file.read_at(&mut bytes, 0)?;
    Ok(bytes
        .first_chunk()
        .filter(|_| read == KEY_LEN)
        .map(Key::new))
}

/// The key in the state folder, made when there is none that can be used: what was sealed before is lost then. The folder's
/// files are their owner's alone.
///
/// Never fails but for want of chance: a node whose flash has died must not lose the cloud as well. What can't be kept is
/// used until the end of the process, and said.
pub fn own(folder: &dyn Flash) -> io::Result<Key> {
    match folder.open(NAME).and_then(|file| key(&*file)) {
        Ok(Some(key)) => return Ok(key),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Ok(None) => log::error!("{NAME} is no key and is replaced; what it sealed is lost"),
        Err(error) => log::error!("{NAME} is replaced; what it sealed is lost: {error}"),
    }
    let mut bytes = [0; KEY_LEN];
    crypto::random(&mut bytes)?;
    if let Err(error) = keep(folder, &bytes) {
        log::error!(
            "{NAME} can't be kept, so no secret and no token outlives this process: {error}"
        );
    }
    Ok(Key::new(&bytes))
}

/// Puts a new key there, whole or not at all, safe from a power cut before anything is sealed with it.
fn keep(folder: &dyn Flash, bytes: &[u8]) -> io::Result<()> {
    let file = folder.create(NEW)?;
    file.write_at(bytes, 0)?;
    file.sync_data()?;
    folder.rename(NEW, NAME)?;
    folder.sync_dir()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::io::flash::Absent;
    use crate::io::flash::Disk;
    use crate::io::flash::memory::Memory;
    use crate::io::flash::memory::Random;

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
    fn the_own_key_is_made_once_for_its_owner_only() {
        let folder = Folder::new("seal-own");
        let disk = Disk::open(&folder.0).expect("a folder");
        let first = own(&disk).expect("made");
        assert_eq!(own(&disk).expect("kept").id(), first.id());
        let path = folder.0.join(NAME);
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(disk.list().expect("listed"), [NAME]);
        assert_eq!(read(&path).expect("right").id(), first.id());
    }

    #[test]
    fn a_power_cut_leaves_a_key_or_none_and_a_file_that_is_no_key_is_replaced() {
        let mut random = Random::new(1);
        for cut in 0..6 {
            let flash = Memory::default();
            flash.cut_at(Some(cut));
            let used = own(&flash).expect("for now").id();
            let after = flash.after_power_cut(&mut random);
            let found = own(&after).expect("made or kept").id();
            assert!(cut < 5 || found == used, "what was made safe stays");
            assert_eq!(own(&after).expect("kept").id(), found);
        }
        for wrong in [&b""[..], b"torn", &[1; 33]] {
            let flash = Memory::default();
            flash.put(NAME, wrong);
            let made = own(&flash).expect("made").id();
            assert_eq!(own(&flash).expect("kept").id(), made);
            assert_eq!(flash.list_names(), [NAME]);
        }
        let first = own(&Absent).expect("for now").id();
        assert_ne!(own(&Absent).expect("for now").id(), first);
    }
}
