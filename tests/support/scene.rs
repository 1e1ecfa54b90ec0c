//! A scene: a fake API server, a cable, and the real agent between them and the test, as a process of its own.

use std::io::BufRead;
use std::io::BufReader;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;
use std::time::Instant;

use super::apiserver::ApiServer;
use super::apiserver::Options;
use super::cable::Cable;
use super::cable::Mode;
use super::client::Client;

/// How long an agent may take to open its doors.
const START: Duration = Duration::from_secs(20);

/// What to run as the agent: a program, and arguments before `agent`.
#[derive(Clone, Debug)]
pub struct Program {
    /// The file.
    pub path: PathBuf,
    /// What comes before the agent's own arguments.
    pub arguments: Vec<String>,
}

impl Program {
    /// The program at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            arguments: Vec::new(),
        }
    }
}

/// The whole scene. The agent is killed, and its folder removed, when this is dropped.
pub struct Scene {
    /// The API server.
    pub server: ApiServer,
    /// The line.
    pub cable: Cable,
    program: Program,
    folder: PathBuf,
    extra: Vec<String>,
    agent: Option<Agent>,
    protobuf: bool,
}

/// A running agent.
struct Agent {
    child: Child,
    local: SocketAddr,
    admin: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

/// What the kernel says of the agent's memory, in KB.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Resident.
    pub resident: u64,
    /// Resident and not of a file.
    pub anonymous: u64,
    /// The most that was ever resident.
    pub peak: u64,
    /// Threads.
    pub threads: u64,
}

impl Scene {
    /// A scene with a server as it comes and an agent that drops `skip-`.
    pub fn new(program: Program) -> Self {
        Self::with(
            program,
            Options::default(),
            &["--drop-name-prefix", "skip-"],
        )
    }

    /// A scene with a server of `options` and an agent with `extra` arguments.
    pub fn with(program: Program, options: Options, extra: &[&str]) -> Self {
        let mut scene = Self::dark(program, options, extra);
        scene.start();
        scene
    }

    /// A scene whose agent has not been started yet.
    pub fn dark(program: Program, options: Options, extra: &[&str]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("toono-scene-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let server = ApiServer::start(options);
        let identity = server.pki().client("edge-00");
        for (name, text) in [
            ("ca.crt", &server.pki().authority()),
            ("own.crt", &identity.certificate),
            ("own.key", &identity.key),
        ] {
            std::fs::write(folder.join(name), text).expect("a file in a temporary folder");
        }
        let cable = Cable::lay(server.address());
        let extra = extra.iter().map(|&argument| argument.to_owned()).collect();
        Self {
            server,
            cable,
            program,
            folder,
            extra,
            agent: None,
            protobuf: false,
        }
    }

    /// The same scene, whose clients would rather have protobuf.
    pub fn in_protobuf(mut self) -> Self {
        self.protobuf = true;
        self
    }

    fn dressed(&self, client: Client) -> Client {
        if self.protobuf {
            client.in_protobuf()
        } else {
            client
        }
    }

    /// Arguments for the starts to come.
    pub fn add(&mut self, extra: &[&str]) {
        self.extra
            .extend(extra.iter().map(|&argument| argument.to_owned()));
    }

    /// Starts the agent and waits until its doors are open.
    pub fn start(&mut self) {
        let file = |name: &str| self.folder.join(name).display().to_string();
        let mut arguments: Vec<String> = Vec::new();
        for (flag, value) in [
            ("--server", format!("https://{}", self.cable.address())),
            ("--ca", file("ca.crt")),
            ("--node-name", "edge-00".to_owned()),
            ("--listen", "127.0.0.1:0".to_owned()),
            ("--admin-listen", "127.0.0.1:0".to_owned()),
            ("--state-dir", file("state")),
            ("--log-level", "debug".to_owned()),
        ] {
            // Of servers there may be several.
            if flag == "--server" || !self.extra.iter().any(|argument| argument == flag) {
                arguments.extend([flag.to_owned(), value]);
            }
        }
        if !self.extra.iter().any(|argument| argument == "--token-file") {
            arguments.extend(["--cert".to_owned(), file("own.crt")]);
            arguments.extend(["--key".to_owned(), file("own.key")]);
        }
        arguments.extend(self.extra.iter().cloned());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.start_with(&arguments);
    }

    /// Starts the agent with these arguments only.
    pub fn start_with(&mut self, arguments: &[&str]) {
        let mut command = Command::new(&self.program.path);
        command.args(&self.program.arguments).arg("agent");
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the agent's program starts");
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let log = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&log);
        let (said, heard) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some((before, address)) = line.split_once("listening address=") {
                    let admin = before.ends_with("admin ");
                    // Nobody listens any more once both have been heard.
                    let _ = address
                        .trim()
                        .parse()
                        .map(|address: SocketAddr| said.send((admin, address)));
                }
                kept.lock()
                    .expect("no thread panics with the lock held")
                    .push(line);
            }
        });
        let (mut local, mut admin) = (None, None);
        let deadline = Instant::now() + START;
        while local.is_none() || admin.is_none() {
            match heard.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok((true, address)) => admin = Some(address),
                Ok((false, address)) => local = Some(address),
                Err(_) => {
                    let _ = child.kill();
                    panic!(
                        "the agent did not open its doors: {:#?}",
                        log.lock().expect("the log")
                    );
                }
            }
        }
        let (local, admin) = (local.expect("heard"), admin.expect("heard"));
        self.agent = Some(Agent {
            child,
            local,
            admin,
            log,
        });
    }

    fn agent(&self) -> &Agent {
        self.agent.as_ref().expect("the agent runs")
    }

    /// A client at the agent's local door.
    pub fn client(&self) -> Client {
        self.dressed(Client::new(self.agent().local))
    }

    /// A client at the agent's admin door.
    pub fn admin(&self) -> Client {
        Client::new(self.agent().admin)
    }

    /// A client that asks the server itself, past cable and agent.
    pub fn direct(&self) -> Client {
        self.dressed(Client::new(self.server.direct()))
    }

    /// Where the scene's files are.
    pub fn folder(&self) -> &PathBuf {
        &self.folder
    }

    /// Waits until the agent has reached the server.
    pub fn connected(&self) {
        self.wait("the agent reaches the server", || {
            let log = self.log();
            let up = log.iter().rposition(|line| line.contains("can be reached"));
            let down = log
                .iter()
                .rposition(|line| line.contains("can't be reached"));
            up > down
        });
    }

    /// Cuts the line, and waits until the agent has noticed without being asked.
    pub fn cut_off(&self, mode: Mode) {
        self.cut(mode);
        self.within(Duration::from_secs(45), "the agent notices", || {
            let log = self.log();
            let up = log.iter().rposition(|line| line.contains("can be reached"));
            let down = log
                .iter()
                .rposition(|line| line.contains("can't be reached"));
            down > up
        });
    }

    /// Waits until `done`, 20 s at the most.
    #[track_caller]
    pub fn wait(&self, what: &str, done: impl Fn() -> bool) {
        self.within(START, what, done);
    }

    /// Waits until `done`, `limit` at the most.
    #[track_caller]
    pub fn within(&self, limit: Duration, what: &str, done: impl Fn() -> bool) {
        let deadline = Instant::now() + limit;
        while !done() {
            assert!(
                Instant::now() < deadline,
                "{what}: not within {limit:?}; the agent says {:#?}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Cuts the line.
    pub fn cut(&self, mode: Mode) {
        self.cable.set(mode);
    }

    /// Mends the line.
    pub fn restore(&self) {
        self.cable.set(Mode::Pass);
    }

    /// Ends the agent at once, as `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            // It may have been killed already.
            let _ = agent.child.kill();
            agent.child.wait().expect("a killed child ends");
        }
    }

    /// The agent's process.
    pub fn pid(&self) -> u32 {
        self.agent().child.id()
    }

    /// Asks the agent to end; how long it took, and whether it ended well.
    pub fn terminate(&mut self) -> (Duration, bool) {
        let mut agent = self.agent.take().expect("the agent runs");
        let began = Instant::now();
        let pid = agent.child.id().to_string();
        let asked = Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .expect("kill is there");
        assert!(asked.success());
        let status = agent.child.wait().expect("a child ends");
        (began.elapsed(), status.success())
    }

    /// Kills the agent and starts it again.
    pub fn restart(&mut self) {
        self.kill();
        self.start();
    }

    /// What the agent has logged so far.
    pub fn log(&self) -> Vec<String> {
        self.agent()
            .log
            .lock()
            .expect("no thread panics with the lock held")
            .clone()
    }

    /// Reads what the agent has logged so far.
    pub fn heard<T>(&self, read: impl FnOnce(&[String]) -> T) -> T {
        let log = self.agent().log.lock();
        read(&log.expect("no thread panics with the lock held"))
    }

    /// The agent's open descriptors.
    pub fn descriptors(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.agent().child.id());
        std::fs::read_dir(folder)
            .expect("a running process has them")
            .count()
    }

    /// Kilobytes of address space that the agent's heap has taken from the kernel, written to or not.
    pub fn heap(&self) -> u64 {
        let maps = std::fs::read_to_string(format!("/proc/{}/smaps", self.agent().child.id()))
            .expect("a running process has them");
        let mut lines = maps.lines().skip_while(|line| !line.ends_with("[heap]"));
        let size = lines.find_map(|line| line.strip_prefix("Size:"));
        let words = size.and_then(|size| size.split_whitespace().next());
        words
            .and_then(|number| number.parse().ok())
            .expect("a process with a heap")
    }

    /// The agent's memory.
    pub fn memory(&self) -> Memory {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.agent().child.id()))
            .expect("it runs");
        let field = |name: &str| {
            let line = status
                .lines()
                .find(|line| line.starts_with(name))
                .unwrap_or_default();
            line.split_whitespace()
                .nth(1)
                .and_then(|text| text.parse().ok())
                .unwrap_or(0)
        };
        Memory {
            resident: field("VmRSS:"),
            anonymous: field("RssAnon:"),
            peak: field("VmHWM:"),
            threads: field("Threads:"),
        }
    }

    /// Bytes that the agent has caused to be written to disk, and those of the mirror's files.
    pub fn mirror_bytes(&self) -> u64 {
        let files = std::fs::read_dir(self.folder.join("state/mirror"))
            .into_iter()
            .flatten()
            .map_while(Result::ok);
        files
            .filter_map(|file| file.metadata().ok())
            .map(|meta| meta.len())
            .sum()
    }
}

impl Drop for Scene {
    #[allow(clippy::print_stderr)] // Shown by the test harness when the test fails.
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(agent) = &self.agent
            && let Ok(log) = agent.log.lock()
        {
            for line in log.iter().rev().take(60).rev() {
                eprintln!("agent: {line}");
            }
        }
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
