//! The process as who starts it sees it: its lock, its user, its parent, its exit codes, whom it tells that it is ready.

use std::io::BufRead;
use std::io::BufReader;
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

use crate::Scene;
use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::cable::Mode;
use crate::support::client::Client;
use crate::support::object;

const PATH: &str = "/api/v1/namespaces/edge/configmaps";

/// A user and a group that nobody has, as `--user` takes them.
const STRANGER: (u32, u32) = (21_345, 21_346);

/// A scene whose agent is started by the tests themselves.
fn dark() -> Scene {
    Scene::dark(crate::agent(), Default::default(), &[])
}

/// The arguments of an agent of this scene.
fn arguments(scene: &Scene, extra: &[&str]) -> Vec<String> {
    let file = |name: &str| scene.folder().join(name).display().to_string();
    let mut said = Vec::new();
    for (flag, value) in [
        ("--server", format!("https://{}", scene.cable.address())),
        ("--ca", file("ca.crt")),
        ("--cert", file("own.crt")),
        ("--key", file("own.key")),
        ("--node-name", "edge-00".to_owned()),
        ("--listen", "127.0.0.1:0".to_owned()),
        ("--admin-listen", "127.0.0.1:0".to_owned()),
        ("--state-dir", file("state")),
    ] {
        if !extra.contains(&flag) {
            said.extend([flag.to_owned(), value]);
        }
    }
    said.extend(extra.iter().map(|&word| word.to_owned()));
    said
}

/// Runs `toono VERB` of this scene to its end.
fn run(scene: &Scene, verb: &str, extra: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(crate::agent().path)
        .arg(verb)
        .args(arguments(scene, extra))
        .output();
    said(output.expect("it runs"))
}

/// An exit code, and the one line on standard error that goes with it.
fn said(output: Output) -> (Option<i32>, String) {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let complaints = stderr.lines().filter(|line| line.starts_with("toono: "));
    let line = complaints.collect::<Vec<_>>().join("\n");
    (output.status.code(), line)
}

/// A process that is killed when this is dropped.
struct Running {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let log = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                kept.lock().expect("the log").push(line);
            }
        });
        Self { child, log }
    }

    fn agent(scene: &Scene, extra: &[&str]) -> Self {
        let mut command = Command::new(crate::agent().path);
        command.arg("agent").args(arguments(scene, extra));
        Self::start(command)
    }

    /// What stands behind `mark` in the log, once for each line that has it.
    fn marked(&self, mark: &str) -> Vec<String> {
        let log = self.log.lock().expect("the log");
        let lines = log.iter().filter_map(|line| line.split_once(mark));
        lines.map(|(_, rest)| rest.trim_end().to_owned()).collect()
    }

    /// What stands behind `mark` on the line that has it for the `count`th time.
    #[track_caller]
    fn heard(&self, mark: &str, count: usize) -> String {
        let mut found = Vec::new();
        within(
            Duration::from_secs(30),
            &format!("{mark:?} in {:#?}", self.log),
            || {
                found = self.marked(mark);
                found.len() >= count
            },
        );
        found[count - 1].clone()
    }

    /// Where the operator asks.
    #[track_caller]
    fn admin(&self) -> SocketAddr {
        let address = self.heard("admin listening address=", 1);
        address.parse().expect("an address")
    }

    fn signal(&self, signal: &str) {
        signal_to(self.child.id(), signal);
    }

    /// Its exit code, when it has ended.
    #[track_caller]
    fn ended(&mut self) -> Option<i32> {
        let mut status = None;
        within(Duration::from_secs(30), "it ends", || {
            status = self.child.try_wait().expect("it can be waited for");
            status.is_some()
        });
        status.and_then(|status| status.code())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn within(limit: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !done() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn signal_to(pid: u32, signal: &str) {
    let told = Command::new("kill")
        .args([&format!("-{signal}"), &pid.to_string()])
        .status();
    assert!(told.expect("kill is there").success());
}

/// The value of a field of `/proc/PID/status`, words parted by one space; none when there is no such process.
fn status(process: &str, field: &str) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    let words: Vec<&str> = line.trim_start_matches(':').split_whitespace().collect();
    Some(words.join(" "))
}

/// Whether there is such a process that has not ended.
fn lives(pid: u32) -> bool {
    status(&pid.to_string(), "State").is_some_and(|state| !state.starts_with('Z'))
}

#[allow(clippy::print_stderr)] // Shown by the test harness.
fn is_root() -> bool {
    let root = status("self", "Uid").is_some_and(|uids| uids.starts_with("0 0 0"));
    if !root {
        eprintln!("not root: nobody can be become; only what is refused is tried");
    }
    root
}

#[test]
fn a_state_folder_has_one_agent_until_that_is_gone_however_it_went() {
    let mut scene = dark();
    scene.start();
    let state = scene.folder().join("state");
    let (code, line) = run(&scene, "agent", &[]);
    assert_eq!(
        (code, line),
        (
            Some(75),
            format!("toono: --state-dir {state:?}: another toono agent runs on it")
        )
    );
    let lock = state.join("lock").metadata().expect("the lock's file");
    assert_eq!((lock.len(), lock.mode() & 0o777), (0, 0o600));
    scene.kill();
    scene.start();
    assert_eq!(run(&scene, "agent", &[]).0, Some(75));
    let (_, well) = scene.terminate();
    assert!(well);
    scene.start();
}

#[test]
fn a_check_says_what_is_wrong_and_touches_nothing() {
    let mut scene = dark();
    let state = scene.folder().join("state");
    let (code, line) = run(&scene, "check", &[]);
    assert_eq!(code, Some(74), "no folder yet: {line}");
    assert!(
        line.starts_with(&format!("toono: --state-dir {state:?}: ")),
        "{line}"
    );
    assert!(!state.exists());
    std::fs::create_dir(&state).expect("a folder");
    assert_eq!(run(&scene, "check", &[]), (Some(0), String::new()));
    assert_eq!(state.read_dir().expect("the folder").count(), 0);
    assert!(scene.server.requests().is_empty());
    let path = |name: &str| scene.folder().join(name).display().to_string();
    let (key, certificate) = (path("own.key"), path("own.crt"));
    let token = path("seal");
    std::fs::write(&token, "short").expect("a file");
    for (extra, expected, start) in [
        (
            &["--linger", "x"][..],
            78,
            "toono: --linger \"x\": must be seconds",
        ),
        (&["--ca", &key], 78, "toono: /"),
        (&["--key", &certificate], 78, "toono: /"),
        (&["--seal-key", &token], 78, "toono: --seal-key "),
        (&["--kubeconfig", &key], 78, "toono: "),
        (
            &["--token-file", "/none"],
            78,
            "toono: --token-file \"/none\": must be a file",
        ),
        (&["--state-dir", &key], 74, "toono: --state-dir "),
        (&["--state-dir", "/proc/1"], 74, "toono: --state-dir "),
        (
            &["--nothing"],
            64,
            "toono: Unrecognized argument: --nothing",
        ),
        (&["word"], 64, "toono: Unrecognized argument: word"),
        (
            &["--server"],
            64,
            "toono: No value provided for option '--server'",
        ),
    ] {
        let (code, line) = run(&scene, "check", extra);
        assert_eq!(code, Some(expected), "{extra:?}: {line}");
        assert!(
            line.starts_with(start) && line.lines().count() == 1,
            "{line}"
        );
        if expected == 78 {
            assert_eq!(
                run(&scene, "agent", extra),
                (code, line),
                "the agent says the same"
            );
        }
    }
    scene.start();
    let beside = run(&scene, "check", &[]);
    assert_eq!(beside, (Some(0), String::new()), "an agent may run");
}

#[test]
fn who_waits_is_told_when_the_doors_are_open_and_when_the_agent_is_ready() {
    let mut scene = dark();
    scene.cut(Mode::Refuse);
    let wait = |arguments: &[&str]| {
        let output = Command::new(crate::agent().path)
            .arg("wait")
            .args(arguments)
            .output();
        said(output.expect("it runs"))
    };
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let admin = free.local_addr().expect("an address").to_string();
    drop(free);
    let (code, line) = wait(&["listening", "--admin", &admin, "--timeout", "0"]);
    let late = format!("toono: the agent at {admin} is not listening within 0 s");
    assert_eq!((code, line), (Some(1), late));
    let early = {
        let admin = admin.clone();
        std::thread::spawn(move || {
            let arguments = ["wait", "listening", "--timeout=20", "--admin", &admin];
            Command::new(crate::agent().path).args(arguments).status()
        })
    };
    scene.add(&["--admin-listen", &admin]);
    scene.start();
    let waited = early.join().expect("no panic").expect("it runs");
    assert_eq!(waited.code(), Some(0));
    let (code, line) = wait(&["ready", "--admin", &admin, "--timeout", "0"]);
    let late = format!("toono: the agent at {admin} is not ready within 0 s");
    assert_eq!((code, line), (Some(1), late));
    scene.restore();
    assert_eq!(
        wait(&["ready", "--admin", &admin]),
        (Some(0), String::new())
    );
    for wrong in [
        &["up"][..],
        &[],
        &["ready", "--admin", "x"],
        &["ready", "--timeout", "-1"],
    ] {
        assert_eq!(wait(wrong).0, Some(64), "{wrong:?}");
    }
}

/// What all threads of a process that has given up what it need not be have in common.
#[track_caller]
fn has_given_up(pid: u32, uid: u32, gid: u32) {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let mut count = 0;
    for task in tasks {
        let task = task
            .expect("a thread")
            .file_name()
            .into_string()
            .expect("a number");
        let task = format!("{pid}/task/{task}");
        for (field, value) in [
            ("Uid", format!("{uid} {uid} {uid} {uid}")),
            ("Gid", format!("{gid} {gid} {gid} {gid}")),
            ("Groups", String::new()),
            ("CapEff", "0".repeat(16)),
            ("CapPrm", "0".repeat(16)),
            ("CapInh", "0".repeat(16)),
            ("CapAmb", "0".repeat(16)),
            ("NoNewPrivs", "1".to_owned()),
            ("Umask", "0027".to_owned()),
        ] {
            assert_eq!(status(&task, field), Some(value), "{task} {field}");
        }
        count += 1;
    }
    assert!(count >= 2, "it has threads");
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("it runs");
    let core = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max core file size"));
    let core: Vec<&str> = core.unwrap_or_default().split_whitespace().collect();
    assert_eq!(core, ["0", "0", "bytes"]);
}

#[test]
fn the_agent_becomes_the_user_and_keeps_nothing_of_root() {
    let mut scene = dark();
    let (uid, gid) = STRANGER;
    let user = format!("{uid}:{gid}");
    let (code, line) = run(&scene, "agent", &["--user", "no-such-user"]);
    assert_eq!(code, Some(78));
    assert_eq!(
        line,
        "toono: --user \"no-such-user\": there is no user \"no-such-user\" in /etc/passwd"
    );
    if !is_root() {
        let (code, line) = run(&scene, "agent", &["--user", &user]);
        assert_eq!(
            (code, line.as_str()),
            (
                Some(78),
                "toono: --user: only root can become somebody else"
            )
        );
        return;
    }
    // What an agent that was root has left.
    scene
        .server
        .put(&CONFIGMAPS, object::configmap("edge", "one", &[], "x"));
    scene.start();
    let version = scene.client().list(PATH).version();
    scene.kill();
    let state = scene.folder().join("state");
    std::fs::write(state.join("theirs"), "").expect("a file");
    std::os::unix::fs::symlink("/etc/hostname", state.join("mirror/link")).expect("a link");
    std::fs::hard_link(scene.folder().join("ca.crt"), state.join("mirror/hard")).expect("a name");
    scene.add(&["--user", &user]);
    scene.cut(Mode::Refuse);
    scene.start();
    assert_eq!(
        scene.client().list(PATH).version(),
        version,
        "it can read what was mirrored"
    );
    scene.restore();
    scene.connected();
    scene
        .server
        .patch_labels(&CONFIGMAPS, "edge", "one", &[("a", Some("b"))]);
    scene.wait("it can write", || {
        scene.client().list(PATH).version() > version
    });
    has_given_up(scene.pid(), uid, gid);
    let owner = |path: &Path| {
        let meta = path.symlink_metadata().expect("it is there");
        (meta.uid(), meta.gid())
    };
    for name in ["", "lock", "seal.key", "boot", "mirror"] {
        assert_eq!(owner(&state.join(name)), STRANGER, "{name}");
    }
    for name in ["theirs", "mirror/link", "mirror/hard"] {
        assert_eq!(owner(&state.join(name)), (0, 0), "{name}");
    }
    assert_eq!(owner(Path::new("/etc/hostname")).0, 0);
    scene.kill();
    // A key that is root's alone could not be read again.
    let key = scene.folder().join("own.key");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).expect("ours");
    for verb in ["check", "agent"] {
        let (code, line) = run(&scene, verb, &["--user", &user]);
        assert_eq!(code, Some(78));
        assert!(
            line.starts_with(&format!(
                "toono: --key {key:?}: must be a file that can be read: "
            )),
            "{line}"
        );
    }
}

#[test]
fn a_supervised_agent_comes_back_and_a_signal_for_its_parent_is_its_own() {
    let scene = dark();
    let mut parent = Running::agent(&scene, &["--supervise"]);
    let admin = parent.admin();
    let first: u32 = parent.heard("started pid=", 1).parse().expect("a number");
    let own = parent.child.id().to_string();
    let threads = status(&own, "Threads").expect("it runs");
    let anonymous = status(&own, "RssAnon").expect("it runs");
    let kilobytes = anonymous
        .split(' ')
        .next()
        .and_then(|text| text.parse::<u64>().ok());
    assert!(
        kilobytes.is_some_and(|kilobytes| kilobytes < 600),
        "{anonymous}"
    );
    assert!(["1", "2"].contains(&threads.as_str()), "{threads}");
    parent.signal("HUP");
    parent.heard("the configuration was read again", 1);
    assert!(lives(first));
    signal_to(first, "KILL");
    // The one pause that is waited for: 5 s.
    let second: u32 = parent.heard("started pid=", 2).parse().expect("a number");
    assert_ne!(first, second);
    parent.heard("admin listening address=", 2);
    assert!(
        Client::new(admin).get("/v1/healthz").is_err(),
        "a free port each time"
    );
    parent.signal("TERM");
    assert_eq!(parent.ended(), Some(0));
    assert!(!lives(second));
    parent.heard("stopping: clients have", 1);
}

#[test]
fn a_supervised_agent_dies_with_its_parent() {
    let scene = dark();
    let mut extra = vec!["--supervise"];
    let user = format!("{}:{}", STRANGER.0, STRANGER.1);
    let mut program = crate::agent().path;
    if is_root() {
        // Who has become another user must still be able to find the program.
        let copy = scene.folder().join("toono");
        std::fs::copy(&program, &copy).expect("a copy");
        program = copy;
        extra.extend(["--user", &user]);
    }
    let mut command = Command::new(&program);
    command.arg("agent").args(arguments(&scene, &extra));
    let mut parent = Running::start(command);
    parent.admin();
    let child: u32 = parent.heard("started pid=", 1).parse().expect("a number");
    if extra.len() > 1 {
        has_given_up(child, STRANGER.0, STRANGER.1);
        has_given_up(parent.child.id(), STRANGER.0, STRANGER.1);
    }
    parent.signal("KILL");
    assert_eq!(parent.ended(), None);
    within(Duration::from_secs(10), "the child is gone", || {
        !lives(child)
    });
    let alone = run(&scene, "agent", &["--supervised", &child.to_string()]);
    assert_eq!(alone, (Some(1), "toono: the supervisor is gone".to_owned()));
}

#[test]
fn what_can_not_run_as_it_was_told_is_not_started_again() {
    let scene = dark();
    let key = scene.folder().join("own.key").display().to_string();
    // Found by the parent, and by the agent that it has started.
    for extra in [["--linger", "x"], ["--ca", &key]] {
        let extra = [&extra[..], &["--supervise"]].concat();
        let mut parent = Running::agent(&scene, &extra);
        assert_eq!(parent.ended(), Some(78));
        assert!(parent.marked("started pid=").len() <= 1);
    }
    let file = scene.folder().join("toono.toml");
    std::fs::write(&file, "supervise = true\n").expect("a file");
    let file = file.display().to_string();
    let mut parent = Running::agent(&scene, &["--config", &file, "--ca", &key]);
    assert_eq!(parent.ended(), Some(78));
    assert_eq!(parent.marked("started pid=").len(), 1);
}

/// The next datagram that begins with one of these.
#[track_caller]
fn told(socket: &UnixDatagram, starts: &[&str]) -> String {
    loop {
        let mut buffer = [0; 2048];
        let length = socket.recv(&mut buffer).expect("a datagram in time");
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if starts.iter().any(|start| text.starts_with(start)) {
            return text;
        }
    }
}

#[test]
fn who_has_started_the_agent_by_systemds_protocol_is_told_how_it_is() {
    let scene = dark();
    let path = scene.folder().join("notify");
    let name = format!("toono-notify-{}", std::process::id());
    let hidden = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("a name");
    for (variable, socket) in [
        (path.display().to_string(), UnixDatagram::bind(&path)),
        (format!("@{name}"), UnixDatagram::bind_addr(&hidden)),
    ] {
        let socket = socket.expect("a socket");
        let patience = Some(Duration::from_secs(20));
        socket.set_read_timeout(patience).expect("set");
        let mut command = Command::new(crate::agent().path);
        command.arg("agent").args(arguments(&scene, &[]));
        command
            .env("NOTIFY_SOCKET", variable)
            .env("WATCHDOG_USEC", "200000");
        let mut agent = Running::start(command);
        let all = ["READY=1", "RELOADING=1", "STOPPING=1", "WATCHDOG=1"];
        assert_eq!(
            told(&socket, &all),
            "READY=1",
            "nothing before the doors are open"
        );
        assert!(Client::new(agent.admin()).get("/v1/healthz").is_ok());
        for _ in 0..3 {
            assert_eq!(told(&socket, &all), "WATCHDOG=1");
        }
        agent.signal("HUP");
        let reloading = told(&socket, &all[..3]);
        let micros = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
        assert!(micros.is_some_and(|micros| micros.parse::<u64>().is_ok_and(|micros| micros > 0)));
        assert_eq!(told(&socket, &all[..3]), "READY=1");
        agent.signal("TERM");
        assert_eq!(told(&socket, &all[..3]), "STOPPING=1");
        assert_eq!(agent.ended(), Some(0));
    }
}

#[test]
fn who_has_started_the_agent_by_s6s_protocol_gets_a_newline() {
    let scene = dark();
    let path = scene.folder().join("ready");
    let behind = crate::agent_behind(&format!("exec 7>{}", path.display()));
    let mut command = Command::new(behind.path);
    command.args(behind.arguments).arg("agent");
    command.args(arguments(&scene, &["--ready-fd", "7"]));
    let agent = Running::start(command);
    let read = || std::fs::read(&path).unwrap_or_default();
    within(Duration::from_secs(20), "a newline", || !read().is_empty());
    assert_eq!(read(), b"\n");
    assert!(Client::new(agent.admin()).get("/v1/healthz").is_ok());
    let (code, line) = run(&scene, "agent", &["--ready-fd", "99"]);
    assert_eq!(code, Some(78));
    assert!(line.starts_with("toono: --ready-fd: "), "{line}");
}

#[test]
fn what_is_logged_to_syslog_goes_there_while_somebody_listens() {
    let scene = dark();
    let path = scene.folder().join("log");
    let listen = || {
        let socket = UnixDatagram::bind(&path).expect("a socket");
        let patience = Some(Duration::from_secs(20));
        socket.set_read_timeout(patience).expect("set");
        socket
    };
    let to = format!("syslog:{}", path.display());
    let socket = listen();
    let agent = Running::agent(&scene, &["--log-to", &to]);
    let start = format!("<30>toono[{}]: ", agent.child.id());
    let heard = told(&socket, &[&format!("{start}listening address=")]);
    assert!(
        heard.parse::<u8>().is_err() && heard.contains("127.0.0.1:"),
        "{heard}"
    );
    let (code, line) = run(&scene, "agent", &["--log-to", &to]);
    assert_eq!(code, Some(75));
    let also = told(&socket, &["<27>toono["]);
    assert!(also.ends_with(line.trim_start_matches("toono")), "{also}");
    assert_eq!(*agent.log.lock().expect("the log"), [""; 0]);
    drop(socket);
    agent.signal("HUP");
    agent.heard("the configuration was read again", 1);
    std::fs::remove_file(&path).expect("it was there");
    let socket = listen();
    agent.signal("HUP");
    told(
        &socket,
        &[&format!("{start}the configuration was read again")],
    );
    assert_eq!(agent.marked("the configuration was read again").len(), 1);
}

/// A folder that is removed in the end.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_state_folder_in_memory_is_warned_of_or_refused() {
    let mut scene = dark();
    let folder = Folder(format!("/dev/shm/toono-process-{}", std::process::id()).into());
    std::fs::create_dir(&folder.0).expect("there is a tmpfs");
    let state = folder.0.display().to_string();
    let lost =
        format!("--state-dir {state:?} lies on tmpfs: all that is mirrored is lost at a reboot");
    let extra = ["--state-dir", &state];
    let warning = format!("toono: warning: {lost}");
    assert_eq!(run(&scene, "check", &extra), (Some(0), warning));
    let strict = [&extra[..], &["--strict-state"]].concat();
    for verb in ["check", "agent"] {
        let refused = format!("toono: {lost}, which --strict-state forbids");
        assert_eq!(run(&scene, verb, &strict), (Some(74), refused));
    }
    let volatile = |scene: &Scene| {
        let status = scene.admin().get("/status").expect("an answer").json();
        status["mirror"]["volatile"].clone()
    };
    scene.add(&extra);
    scene.start();
    assert_eq!(volatile(&scene), "tmpfs");
    assert!(
        scene
            .log()
            .iter()
            .any(|line| line.contains("WARN") && line.ends_with(&lost))
    );
}
