//! Who the process is, and giving up what it need not be.
//!
//! Linux keeps users, groups and privileges by thread, and a new thread has those of the one that starts it. So all of this
//! comes before the first thread is started.

use std::io;
use std::path::Path;

use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::fs::Gid;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::Uid;
use rustix::process;
use rustix::thread;

use crate::io::account::Account;

/// Whether the process may become somebody else, and give files away.
pub fn is_root() -> bool {
    process::geteuid().is_root()
}

/// Whether the process is `account`.
pub fn is(account: Account) -> bool {
    (process::geteuid().as_raw(), process::getegid().as_raw()) == (account.uid, account.gid)
}

/// What every start gives up: privileges that a program could bring (`no_new_privs`), files that others may read, core
/// dumps, in which tokens and keys would lie.
pub fn give_up() -> io::Result<()> {
    thread::set_no_new_privs(true)?;
    process::umask(Mode::from_raw_mode(0o027));
    let none = process::Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    process::setrlimit(process::Resource::Core, none)?;
    Ok(())
}

/// Becomes `account`, in no other group, with no capability.
pub fn switch(account: Account) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    thread::set_thread_groups(&[])?;
    thread::set_thread_res_gid(gid, gid, gid)?;
    thread::set_thread_res_uid(uid, uid, uid)?;
    let empty = thread::CapabilitySet::empty();
    // The change of user has taken them, unless the process was started so that it keeps them.
    thread::set_capabilities(
        None,
        thread::CapabilitySets {
            effective: empty,
            permitted: empty,
            inheritable: empty,
        },
    )?;
    Ok(())
}

/// Gives the folder at `path` to `account`, and of what is in it the files called `names`.
///
/// Who has the folder may have put anything in it: links are not followed, and what has several names is left alone. The folder
/// itself may be a link where its `parent` is root's.
pub fn give(path: &Path, account: Account, parent: bool, names: &[String]) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    let mut flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if !parent {
        flags |= OFlags::NOFOLLOW;
    }
    let folder = rustix::fs::open(path, flags, Mode::empty())?;
    rustix::fs::fchown(&folder, Some(uid), Some(gid))?;
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    for name in names {
        let stat = rustix::fs::statat(&folder, name, flags)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink == 1 {
            rustix::fs::chownat(&folder, name, Some(uid), Some(gid), flags)?;
        }
    }
    Ok(())
}

/// Whether the process could use the folder at `path`: read it, write it, enter it.
pub fn may_use(path: &Path) -> io::Result<()> {
    use rustix::fs::Access;
    let all = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    rustix::fs::access(path, all)?;
    Ok(())
}
