//! A script being played.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use serde_json::json;

use super::history::History;
use super::history::Thing;
use super::reflector::Order;
use super::reflector::Reflector;
use super::script::HIDDEN;
use super::script::KEYS;
use super::script::Script;
use super::script::Step;
use super::seen::Seen;
use super::stage::HANGS;
use super::stage::Stage;
use crate::support::apiserver::Options;
use crate::support::apiserver::store::Backup;
use crate::support::cable::Mode;
use crate::support::object;
use crate::support::scene::Program;
use crate::support::scene::Scene;

/// The agent's port.
const PORT: u16 = 10261;
/// An object that is big is of so many bytes.
const BIG: usize = 200_000;

/// The parts.
pub(crate) struct Play<'a> {
    script: &'a Script,
    scene: Scene,
    stage: Arc<Stage>,
    clients: Vec<Reflector>,
    /// Clients that only list, by the selection.
    listers: BTreeMap<usize, Seen>,
    backup: Option<(Backup, u64)>,
    written: u64,
}

type Done = Result<(), String>;

impl<'a> Play<'a> {
    pub(crate) fn new(program: &Program, script: &'a Script, place: u8) -> Self {
        let server = script.server;
        let options = Options {
            protocols: if server.http2 {
                vec!["h2", "http/1.1"]
            } else {
                vec!["http/1.1"]
            },
            bookmark_period: Duration::from_millis(server.bookmarks),
            watch_delay: Duration::from_millis(server.late),
            watch_list: server.watch_list,
            ..Options::default()
        };
        // An address of its own, so that the agent's stays the same through all its lives and is nobody else's.
        let [.., high, low] = std::process::id().to_be_bytes();
        let address = IpAddr::V4(Ipv4Addr::new(127, 64 | high & 63, low, 50 + place));
        let door = SocketAddr::new(address, PORT);
        let (listen, admin) = (door.to_string(), SocketAddr::new(address, 0).to_string());
        let mut extra = vec!["--listen", &listen, "--admin-listen", &admin];
        if std::env::var_os("TOONO_MODEL_DEBUG").is_none() {
            extra.extend(["--log-level", "info"]);
        }
        if script.filtered {
            extra.extend(["--drop-name-prefix", HIDDEN]);
        }
        let scene = Scene::with(program.clone(), options, &extra);
        let history = History::new(scene.server.version());
        let stage = Arc::new(Stage::new(door, script.kind, script.form, history));
        let manners = script.manners.iter().enumerate();
        let clients = manners
            .map(|(number, manner)| Reflector::start(number, *manner, Arc::clone(&stage)))
            .collect();
        Self {
            script,
            scene,
            stage,
            clients,
            listers: BTreeMap::new(),
            backup: None,
            written: 0,
        }
    }

    pub(crate) fn note(&self, line: String) {
        self.stage.note(|| line);
    }

    /// What clients saw, and what the agent says.
    pub(crate) fn journal(&self) -> Vec<String> {
        let mut journal = self.stage.journal();
        journal.extend(
            self.scene
                .log()
                .into_iter()
                .map(|line| format!("agent: {line}")),
        );
        journal
    }

    pub(crate) fn step(&mut self, step: Step) -> Done {
        match step {
            Step::Put { key, label, big } => self.put(key, label, big),
            Step::Delete { key } => self.delete(key),
            Step::Recreate { key, label } => {
                self.delete(key);
                self.put(key, label, false);
            }
            Step::Burst { count, big } => {
                for number in 0..count {
                    self.put(number % KEYS.len(), number % 3 == 0, big);
                    if number % 5 == 4 {
                        self.delete((number + 2) % KEYS.len());
                    }
                }
            }
            Step::Elsewhere { count } => {
                let mut history = self.stage.history();
                self.scene.server.skip_versions(count);
                history.skip(self.scene.server.version());
            }
            Step::Cut { mode, noticed } => return self.cut(mode, noticed),
            Step::Mend { noticed } => return self.mend(noticed),
            Step::Kill => {
                self.stage.history().disturbed += 1;
                self.scene.restart();
            }
            Step::Restart => {
                self.stage.history().disturbed += 1;
                let (_, well) = self.scene.terminate();
                if !well {
                    return Err("the agent did not end well".into());
                }
                self.scene.start();
            }
            Step::Compact => self.disturb(|scene| scene.server.compact()),
            Step::Expire => self.disturb(|scene| scene.server.expire_watches()),
            Step::ServerRestart { well: true } => self.disturb(|scene| scene.server.end_watches()),
            Step::ServerRestart { well: false } => self.disturb(|scene| scene.server.disconnect()),
            Step::Backup => {
                let history = self.stage.history();
                self.backup = Some((self.scene.server.backup(), history.now()));
            }
            Step::Rewind => return self.rewind(),
            Step::Leave { client } => self.clients[client].order(Order::Away),
            Step::Return { client } => self.clients[client].order(Order::Work),
            Step::Stall { client } => self.clients[client].order(Order::Stall),
            Step::List {
                selection,
                new,
                any,
            } => return self.list(selection, new, any),
            Step::Settle => {
                if self.scene.cable.mode() == Mode::Pass {
                    return self.settle();
                }
            }
        }
        self.stage.failure().map_or(Ok(()), Err)
    }

    fn disturb(&self, what: impl FnOnce(&Scene)) {
        let mut history = self.stage.history();
        history.disturbed += 1;
        what(&self.scene);
    }

    fn put(&mut self, key: usize, label: bool, big: bool) {
        let (namespace, name) = KEYS[key];
        self.written += 1;
        let value = format!("{}{}", self.written, "-".repeat(if big { BIG } else { 0 }));
        let labels: &[(&str, &str)] = if label {
            &[("k", "v")]
        } else {
            &[("k", "other")]
        };
        let mut made = object::configmap(namespace, name, labels, &value);
        if self.script.kind.custom {
            made = object::camera(namespace, name, self.written as u32);
            made["metadata"]["labels"] = json!({"k": labels[0].1});
            made["spec"]["url"] = json!(value);
        }
        let kind = self.script.kind;
        let mut history = self.stage.history();
        let version = self.scene.server.put(kind, made);
        let item = self
            .scene
            .server
            .item(kind, namespace, name)
            .expect("it was just made");
        let item = serde_json::from_str(&item).expect("the server writes JSON");
        let thing = Thing::read(item, !kind.custom).expect("the server's object");
        let key = thing.key.clone();
        history.record(version, &key, Some(thing));
    }

    fn delete(&mut self, key: usize) {
        let (namespace, name) = KEYS[key];
        let mut history = self.stage.history();
        let deleted = self.scene.server.delete(self.script.kind, namespace, name);
        if let Some(version) = deleted {
            history.record(version, &format!("{namespace}/{name}"), None);
        }
    }

    fn cut(&mut self, mode: Mode, noticed: bool) -> Done {
        self.stage.history().disturbed += 1;
        self.scene.cut(mode);
        if noticed {
            // Who waits for an answer is told so when the agent has noticed.
            let silent = matches!(mode, Mode::Drop | Mode::Blackhole | Mode::Stall);
            if silent {
                return self.list(0, true, false);
            }
            self.until("the agent notices the cut", |play| !connected(&play.scene))?;
        }
        Ok(())
    }

    fn mend(&mut self, noticed: bool) -> Done {
        self.scene.restore();
        if noticed {
            self.until("the agent is back at the server", |play| {
                connected(&play.scene)
            })?;
        }
        Ok(())
    }

    fn until(&self, what: &str, done: impl Fn(&Self) -> bool) -> Done {
        let deadline = Instant::now() + HANGS;
        loop {
            if let Some(failure) = self.stage.failure() {
                return Err(failure);
            }
            if done(self) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(format!("{what}: not within {HANGS:?}; {}", self.states()));
            }
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    /// What clients have that do not have what the server has.
    fn states(&self) -> String {
        let history = self.stage.history();
        let mut text = format!("the server is at {}", history.now());
        for (number, client) in self.clients.iter().enumerate() {
            let seen = client.seen();
            if !seen.is_current(&history) {
                let names = super::seen::names(&seen.store);
                text.push_str(&format!(
                    "; client {number} {:?} has {names} at {}",
                    client.manner, seen.version
                ));
            }
        }
        text
    }

    /// Everybody works, and has what the server has.
    fn settle(&mut self) -> Done {
        for client in &self.clients {
            client.order(Order::Work);
        }
        self.until("everybody has what the server has", |play| {
            let history = play.stage.history();
            play.clients
                .iter()
                .all(|client| client.seen().is_current(&history))
        })
    }

    /// One list by a client that is new, or by the one that lists this selection always. Answers that tell to come again are
    /// not followed: with the line cut they may be all there is.
    fn list(&mut self, selection: usize, new: bool, any: bool) -> Done {
        let asked = self.script.selections[selection];
        let options = if any { "resourceVersion=0" } else { "" };
        let path = self.stage.path(&asked, options);
        let least = self.stage.history().least;
        let answer = match self.stage.client().get(&path) {
            Ok(answer) => answer,
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                return Err(format!("GET {path}: {error}"));
            }
            // A list that broke off tells nothing; clients ask again.
            Err(_) => return Ok(()),
        };
        let failed = |why: String| {
            format!(
                "a list by {} client, GET {path}: {why}",
                if new { "a new" } else { "an old" }
            )
        };
        if answer.status != 200 {
            self.stage.refusal(&answer).map_err(failed)?;
            return Ok(());
        }
        let listed = (self.script.form.list)(&answer).map_err(failed)?;
        let history = self.stage.history();
        let fresh = Seen::new(asked);
        let mut stranger = fresh;
        let seen = if new {
            &mut stranger
        } else {
            self.listers.entry(selection).or_insert(Seen::new(asked))
        };
        let version = listed.version;
        seen.list(&history, listed, least, !any).map_err(failed)?;
        self.stage
            .note(|| format!("GET {path}: {version} {}", super::seen::names(&seen.store)));
        Ok(())
    }

    /// etcd goes back. A server whose versions have gone back and then passed what a client knows can't be told from one that
    /// has gone on, by nobody: so the new history grows only when all have found out. Lists tell the agent.
    fn rewind(&mut self) -> Done {
        let Some((backup, version)) = self.backup.take() else {
            return Ok(());
        };
        {
            let mut history = self.stage.history();
            history.disturbed += 1;
            self.scene.server.restore(&backup);
            self.scene.server.disconnect();
            history.rewind(version);
        }
        self.mend(false)?;
        for client in &self.clients {
            client.order(Order::Work);
        }
        let deadline = Instant::now() + HANGS;
        for selection in 0..self.script.selections.len() {
            while !self.has_found_out(selection)? {
                if Instant::now() >= deadline {
                    return Err(format!("selection {selection} is still of the older epoch"));
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        self.settle()?;
        let mut history = self.stage.history();
        history.least = history.current();
        Ok(())
    }

    /// Lists a selection, and then begins a watch of it: whether that begins with what the server has now.
    fn has_found_out(&self, selection: usize) -> Result<bool, String> {
        let asked = self.script.selections[selection];
        let client = self.stage.client();
        let Ok(listed) = client.get(&self.stage.path(&asked, "")) else {
            return Ok(false);
        };
        if listed.status != 200 {
            return Ok(false);
        }
        let options = "allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&sendInitialEvents=true&watch=true";
        let mut watch = client
            .watch(&self.stage.path(&asked, options))
            .map_err(|error| error.to_string())?;
        let mut seen = Seen::new(asked);
        while let crate::support::client::Next::Event(event) = watch.next(HANGS) {
            match (self.script.form.event)(&event)? {
                super::form::Said::Added(thing) => {
                    drop(seen.store.insert(thing.key.clone(), Arc::new(thing)))
                }
                super::form::Said::Bookmark { version, .. } => {
                    let history = self.stage.history();
                    return Ok(version <= history.now()
                        && seen.store == history.state(history.current(), version, &asked));
                }
                _ => return Ok(false),
            }
        }
        Ok(false)
    }

    /// The line is mended, all settle, and what is listed online is listed again when the line is cut.
    pub(crate) fn end(&mut self) -> Done {
        self.mend(false)?;
        self.settle()?;
        for selection in 0..self.script.selections.len() {
            self.list(selection, false, false)?;
        }
        self.cut(Mode::Refuse, true)?;
        for selection in 0..self.script.selections.len() {
            self.list(selection, false, false)?;
        }
        Ok(())
    }

    /// Sends the clients away; what one of them has found.
    pub(crate) fn leave(&mut self) -> Done {
        self.clients.clear();
        self.stage.failure().map_or(Ok(()), Err)
    }
}

/// Whether the agent says that it reaches the server.
fn connected(scene: &Scene) -> bool {
    scene.heard(|log| {
        let said = log
            .iter()
            .rev()
            .find(|line| line.contains("the API server can"));
        said.is_some_and(|line| line.contains("can be reached"))
    })
}
