//! The process: everything constructed bottom up, run, and drained.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use smol::LocalExecutor;
use smol::future::FutureExt;

use crate::io::boot::Boot;
use crate::io::crypto::Key;
use crate::io::flash;
use crate::io::flash::Disk;
use crate::io::flash::Flash;
use crate::io::http::server::Door;
use crate::io::kernel::lock::Lock;
use crate::io::net::Listener;
use crate::io::notify::Notifier;
use crate::io::seal;
use crate::io::signal;
use crate::io::signal::Signal;
use crate::k8s::status::Status;
use crate::role::agent;
use crate::role::agent::Agent;
use crate::rule::filter::Chain;
use crate::rule::filter::Filter;
use crate::rule::filter::nameprefix::NamePrefix;
use crate::rule::health::Thresholds;
use crate::shell::admin;
use crate::shell::config::Config;
use crate::shell::exit::Error;
use crate::shell::folder;
use crate::shell::folder::Folder;
use crate::shell::settings::Settings;
use crate::state::mirror;
use crate::state::mirror::Mirror;
use crate::state::upstream;
use crate::state::upstream::Upstream;
use crate::wire::object;

/// How long clients have to leave after `SIGTERM`, and how long what is left to write has behind that. Together less than
/// the 5 seconds that are promised.
const DRAIN: Duration = Duration::from_secs(3);
const FLUSH: Duration = Duration::from_millis(1500);

/// The agent's process.
pub struct App {
    executor: Rc<LocalExecutor<'static>>,
    agent: Rc<Agent>,
    mirror: Rc<Mirror>,
    upstream: Rc<Upstream>,
    door: Rc<Door>,
    admin: Rc<Door>,
    signals: signal::Listener,
    said: Settings,
    notifier: Notifier,
    /// Held for life.
    _lock: Option<Lock>,
}

impl App {
    /// Constructs everything and opens the doors' sockets; nobody is let in yet.
    /// `said` is what is read again at `SIGHUP`.
    pub fn build(
        config: &Config,
        said: Settings,
        state: Folder,
        notifier: Notifier,
    ) -> Result<Self, Error> {
        let executor = Rc::new(LocalExecutor::new());
        let folder = config.state_dir.join(folder::MIRROR);
        let unusable = |why: &dyn fmt::Display| {
            Error::State(format!("--state-dir {:?}: {why}", config.state_dir))
        };
        let flash: Arc<dyn Flash> = match Disk::open(&folder) {
            Ok(disk) => Arc::new(disk),
            // A node whose flash has died must not lose the cloud as well.
            Err(error) if flash::is_fault(&error) => {
                log::error!(
                    "the state folder can't be used, so nothing is mirrored: {error} folder={}",
                    folder.display()
                );
                Arc::new(flash::Absent)
            }
            Err(error) => return Err(unusable(&error)),
        };
        let key = seal_key(config)?;
        let mirror = Mirror::open(
            flash,
            mirror::Options {
                sync_window: config.sync_window,
                stamp: |object, version| object::with_resource_version(object, version).ok(),
                same: object::is_same,
                cap: config.flash_cap,
            },
            key,
        )
        .map_err(|error| unusable(&error))?;
        let upstream = Upstream::new(upstream_options(config), Rc::clone(&executor))
            .map_err(|error| Error::Config(error.to_string()))?;
        let prefix = config.drop_name_prefix.as_deref().map(NamePrefix::new);
        let chain = Chain::new(
            prefix
                .into_iter()
                .map(|filter| Box::new(filter) as Box<dyn Filter>)
                .collect(),
        );
        let options = agent::Options {
            sync_window: config.sync_window,
            linger: config.linger,
            ..agent::Options::default()
        };
        let agent = Agent::new(
            Rc::clone(&upstream),
            Rc::clone(&mirror),
            chain,
            options,
            (config.node_name.clone(), Boot::read(state_folder(config))),
            Rc::clone(&executor),
        );
        let door = {
            let agent = Rc::clone(&agent);
            let listener = listen("--listen", config.listen)?;
            Door::new(listener, refuse, Rc::clone(&executor), move |request| {
                Rc::clone(&agent).answer(request)
            })
        };
        let door = Rc::new(door);
        let operator = {
            let agent = Rc::clone(&agent);
            let about = admin::About {
                node: config.node_name.clone(),
                flash_cap: config.flash_cap,
                volatile: state.volatile,
                door: Rc::clone(&door),
            };
            let listener = listen("--admin-listen", config.admin_listen)?;
            Door::new(listener, refuse, Rc::clone(&executor), move |request| {
                std::future::ready(admin::answer(&agent, &about, &request))
            })
        };
        let signals = signal::Listener::new(false)
            .map_err(|error| Error::Failed(format!("can't listen for signals: {error}")))?;
        Ok(Self {
            executor,
            agent,
            mirror,
            upstream,
            door,
            admin: Rc::new(operator),
            signals,
            said,
            notifier,
            _lock: state.lock,
        })
    }

    /// Where node components ask, and where the operator asks.
    pub fn addresses(&self) -> std::io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.door.address()?, self.admin.address()?))
    }

    /// Runs until a signal ends it. A second one while clients are leaving ends it at once.
    pub fn run(mut self) -> Result<(), Error> {
        let executor = Rc::clone(&self.executor);
        smol::block_on(executor.run(async {
            let (local, operator) = self
                .addresses()
                .map_err(|error| Error::Failed(error.to_string()))?;
            log::info!("listening address={local}");
            log::info!("admin listening address={operator}");
            let upstream = executor.spawn(Rc::clone(&self.upstream).run());
            let mirror = {
                let mirror = Rc::clone(&self.mirror);
                executor.spawn(async move { mirror.run().await })
            };
            let admin = {
                let admin = Rc::clone(&self.admin);
                executor.spawn(async move { admin.open().await })
            };
            self.notifier.ready();
            let alive = async {
                let Some(pulse) = self.notifier.pulse() else {
                    return std::future::pending().await;
                };
                // Told from where all work is done: a loop that is stuck tells nothing.
                loop {
                    self.notifier.alive();
                    smol::Timer::after(pulse).await;
                }
            };
            let signals = &mut self.signals;
            let stopped = async {
                while signals.next().await == Signal::Reload {
                    self.notifier.reloading();
                    reload(&self.said, &self.upstream);
                    self.notifier.say_ready();
                }
            };
            self.door.open().or(stopped).or(alive).await;
            self.notifier.stopping();
            log::info!("stopping: clients have {} s to leave", DRAIN.as_secs());
            self.agent.drain();
            let left = self.door.close(Instant::now() + DRAIN);
            let again = async { while self.signals.next().await == Signal::Reload {} };
            left.or(again).await;
            mirror.cancel().await;
            self.flush().await;
            drop((upstream, admin));
            Ok(())
        }))
    }

    /// Writes what is only in memory.
    async fn flush(&self) {
        let late = async {
            smol::Timer::after(FLUSH).await;
            log::warn!("flash is slow: what was not synced yet may be asked for again");
        };
        let closed = async {
            if let Err(error) = self.mirror.close().await {
                log::error!("the mirror was not closed: {error}");
            }
        };
        closed.or(late).await;
    }
}

/// The key that seals what nobody must read on flash.
fn seal_key(config: &Config) -> Result<Key, Error> {
    match &config.seal_key {
        Some(path) => seal::read(path).map_err(|error| wrong_seal_key(path, &error)),
        None => seal::own(&*state_folder(config))
            .map_err(|error| Error::State(format!("no seal key can be made: {error}"))),
    }
}

/// The state folder itself; a dead one holds nothing.
fn state_folder(config: &Config) -> Arc<dyn Flash> {
    match Disk::open(&config.state_dir) {
        Ok(disk) => Arc::new(disk),
        Err(_) => Arc::new(flash::Absent),
    }
}

/// What is wrong with the file of `--seal-key`.
pub fn wrong_seal_key(path: &Path, why: &dyn fmt::Display) -> Error {
    Error::Config(format!("--seal-key {path:?}: {why}"))
}

/// What the configuration says of servers, trust and identity.
pub fn upstream_options(config: &Config) -> upstream::Options {
    upstream::Options {
        servers: config.servers.clone(),
        balance: config.balance,
        files: config.files.clone(),
        token: config.token.clone(),
        thresholds: Thresholds::default(),
    }
}

/// Reads the configuration again. What it says of servers, trust and identity counts from now on, and how much is logged; the
/// rest at the next start. A wrong one changes nothing.
fn reload(said: &Settings, upstream: &Upstream) {
    let changed = Config::load(said.clone())
        .map_err(|complaint| complaint.to_string())
        .and_then(|config| {
            upstream
                .change(upstream_options(&config))
                .map_err(|error| error.to_string())?;
            log::set_max_level(config.log_level);
            Ok(())
        });
    match changed {
        Ok(()) => log::info!("the configuration was read again"),
        Err(why) => log::error!("the configuration stays as it was: {why}"),
    }
}

fn listen(flag: &str, address: SocketAddr) -> Result<Listener, Error> {
    Listener::bind(address).map_err(|error| Error::Failed(format!("{flag} {address}: {error}")))
}

/// What HTTP forbids is refused in the API server's language.
fn refuse(code: u16, why: &str) -> (&'static str, Vec<u8>) {
    ("application/json", Status::new(code, why).to_json())
}
