//! The start, in the order that counts: as root what needs root, then the user for ever, then all else.

use std::ffi::CStr;
use std::ffi::CString;
use std::os::unix::ffi::OsStringExt;
use std::rc::Rc;

use smol::LocalExecutor;

use crate::io::kernel;
use crate::io::kernel::user;
use crate::io::notify::Notifier;
use crate::io::seal;
use crate::io::supervise;
use crate::io::supervise::Spawn;
use crate::shell::app;
use crate::shell::app::App;
use crate::shell::config::Config;
use crate::shell::exit::Error;
use crate::shell::flags;
use crate::shell::folder;
use crate::shell::logger;
use crate::shell::settings::Settings;
use crate::state::upstream::Upstream;

/// Runs the agent, or the parent that it is started by; `arguments` are the command line's, without the program. Returns the
/// exit code when told to end.
pub fn agent(said: Settings, arguments: &[&str], spawn: Spawn) -> Result<u8, Error> {
    let config = load(&said)?;
    logger::start(config.log_level, config.log_to.clone());
    if config.supervise && config.supervisor.is_none() {
        return parent(&config, arguments, spawn);
    }
    // A descriptor that root left open may be root's alone.
    let notifier = Notifier::new(config.ready_fd)
        .map_err(|error| Error::Config(format!("--ready-fd: {error}")))?;
    let folder = folder::open(&config)?;
    let config = settle(config, &said)?;
    if let Some(supervisor) = config.supervisor
        && !kernel::die_with(supervisor).unwrap_or(false)
    {
        return Err(Error::Failed("the supervisor is gone".to_owned()));
    }
    App::build(&config, said, folder, notifier)?.run()?;
    Ok(0)
}

/// Starts the agent for ever. The parent is the user that the agent is, so that nothing of it stays root.
fn parent(config: &Config, arguments: &[&str], spawn: Spawn) -> Result<u8, Error> {
    let failed = |error| Error::Failed(format!("can't supervise: {error}"));
    // Who has changed its user may not ask that any more.
    let program = std::env::current_exe().map_err(failed)?;
    let mut words = vec![program.into_os_string().into_vec()];
    words.extend(arguments.iter().map(|word| word.as_bytes().to_vec()));
    words.push(format!("--{}", flags::SUPERVISED).into_bytes());
    words.push(std::process::id().to_string().into_bytes());
    let words: Vec<CString> = words
        .into_iter()
        .filter_map(|word| CString::new(word).ok())
        .collect();
    let words: Vec<&CStr> = words.iter().map(CString::as_c_str).collect();
    match folder::open(config) {
        // The lock is the agent's to hold. Who has it now may be on its way out.
        Ok(_) | Err(Error::Busy(_)) => {}
        Err(error) => return Err(error),
    }
    give_up(config)?;
    supervise::run(&words, spawn).map_err(failed)
}

/// Says what the agent would say of its configuration, its files and its state folder, and opens nothing; a warning.
pub fn check(said: &Settings) -> Result<Option<String>, Error> {
    let config = load(said)?;
    let warning = folder::check(&config)?;
    let config = settle(config, said)?;
    if let Some(path) = &config.seal_key {
        seal::read(path).map_err(|error| app::wrong_seal_key(path, &error))?;
    }
    Upstream::new(
        app::upstream_options(&config),
        Rc::new(LocalExecutor::new()),
    )
    .map_err(|error| Error::Config(error.to_string()))?;
    Ok(warning)
}

/// Becomes the user, and reads the configuration once more as that: what it can't read now it could not read at `SIGHUP`.
fn settle(config: Config, said: &Settings) -> Result<Config, Error> {
    give_up(&config)?;
    match config.user {
        Some(_) => load(said),
        None => Ok(config),
    }
}

/// Gives up what the process need not be; no thread may have been started before.
fn give_up(config: &Config) -> Result<(), Error> {
    if let Some(account) = config.user
        && !user::is(account)
    {
        if !user::is_root() {
            return Err(Error::Config(
                "--user: only root can become somebody else".to_owned(),
            ));
        }
        user::switch(account).map_err(|error| Error::Config(format!("--user: {error}")))?;
    }
    user::give_up().map_err(|error| Error::Failed(format!("can't give privileges up: {error}")))
}

fn load(said: &Settings) -> Result<Config, Error> {
    Config::load(said.clone()).map_err(|complaint| Error::Config(complaint.to_string()))
}
