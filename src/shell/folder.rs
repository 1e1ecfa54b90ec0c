//! The state folder at the start: made, locked, given to the user that the agent will be, and looked at.

use std::fmt;
use std::io;
use std::io::ErrorKind;
use std::path::Path;

use crate::io::account::Account;
use crate::io::boot;
use crate::io::flash;
use crate::io::flash::Disk;
use crate::io::flash::Flash;
use crate::io::kernel::lock;
use crate::io::kernel::lock::Lock;
use crate::io::kernel::medium;
use crate::io::kernel::user;
use crate::io::seal;
use crate::shell::config::Config;
use crate::shell::exit::Error;

/// The folder of the mirror inside the state folder.
pub const MIRROR: &str = "mirror";

/// What lies in the state folder itself.
const FILES: [&str; 5] = [lock::NAME, seal::NAME, seal::NEW, boot::NAME, boot::NEW];

/// The state folder as it was found.
#[derive(Debug, Default)]
pub struct Folder {
    /// What keeps other agents from it; none on a medium that can't be written.
    pub lock: Option<Lock>,
    /// What a reboot empties and the folder lies on.
    pub volatile: Option<&'static str>,
}

/// Makes, locks and gives away the folder. A medium that has failed is no error here: a node whose flash has died must not
/// lose the cloud as well.
pub fn open(config: &Config) -> Result<Folder, Error> {
    let path = &config.state_dir;
    let mirror = path.join(MIRROR);
    match Disk::open(&mirror) {
        Ok(_) => {}
        Err(error) if flash::is_fault(&error) => return Ok(Folder::default()),
        Err(error) => return Err(unusable(path, &error)),
    }
    let lock = match lock::take(path) {
        Ok(Some(lock)) => Some(lock),
        Ok(None) => {
            return Err(Error::Busy(format!(
                "--state-dir {path:?}: another toono agent runs on it"
            )));
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return Err(unusable(path, &error));
        }
        Err(error) => {
            log::warn!("the state folder can't be locked: {error}");
            None
        }
    };
    if user::is_root()
        && let Some(account) = config.user
    {
        match give(path, &mirror, account) {
            Err(error) if !flash::is_fault(&error) => return Err(unusable(path, &error)),
            _ => {}
        }
    }
    let volatile = volatile(config)?;
    if let Some(kind) = volatile {
        log::warn!("{}", lost(path, kind));
    }
    Ok(Folder { lock, volatile })
}

/// Gives the folder to `account`: itself, its own files and those of the mirror, and nothing else that may lie there, for it may
/// have been named by mistake.
fn give(path: &Path, mirror: &Path, account: Account) -> io::Result<()> {
    let mut own = Disk::open(path)?.list()?;
    own.retain(|name| FILES.contains(&name.as_str()));
    user::give(path, account, true, &own)?;
    user::give(mirror, account, false, &Disk::open(mirror)?.list()?)
}

/// What is wrong with the folder, without touching it; the warning that there is to give, if any.
pub fn check(config: &Config) -> Result<Option<String>, Error> {
    let path = &config.state_dir;
    let mut warning = None;
    for folder in [path.clone(), path.join(MIRROR)] {
        match user::may_use(&folder) {
            Ok(()) => {}
            Err(error) if flash::is_fault(&error) => {
                warning = Some(format!(
                    "--state-dir {path:?}: {error}: nothing will be mirrored"
                ));
            }
            // It is made at the start.
            Err(error) if error.kind() == ErrorKind::NotFound && folder != *path => {}
            Err(error) => return Err(unusable(path, &error)),
        }
    }
    if !path.is_dir() {
        return Err(unusable(path, &"is no folder"));
    }
    Ok(volatile(config)?.map(|kind| lost(path, kind)).or(warning))
}

/// What a reboot empties and the folder lies on; an error where that is forbidden.
fn volatile(config: &Config) -> Result<Option<&'static str>, Error> {
    let path = &config.state_dir;
    let volatile = medium::volatile(path).unwrap_or_else(|error| {
        log::warn!("what the state folder lies on can't be told: {error}");
        None
    });
    match volatile {
        Some(kind) if config.strict_state => Err(Error::State(format!(
            "{}, which --strict-state forbids",
            lost(path, kind)
        ))),
        volatile => Ok(volatile),
    }
}

fn lost(path: &Path, kind: &str) -> String {
    format!("--state-dir {path:?} lies on {kind}: all that is mirrored is lost at a reboot")
}

fn unusable(path: &Path, why: &dyn fmt::Display) -> Error {
    Error::State(format!("--state-dir {path:?}: {why}"))
}
