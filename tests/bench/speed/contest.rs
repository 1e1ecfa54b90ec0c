//! The contest's resource test: one client lists 1,000 configmaps in a closed loop. The server's answer is made once and
//! compressed once, so that its own work does not hide the proxy's; those that are measured take turns.

use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use crate::nginx::Nginx;
use crate::process;
use crate::raw::Raw;
use crate::support::apiserver::Action;
use crate::support::apiserver::Only;
use crate::support::apiserver::Options;
use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::object;
use crate::support::scene::Program;
use crate::support::scene::Scene;
use crate::table;

/// The list that comes compressed, and the one that does not.
const GZIP: &str = "/api/v1/namespaces/contest/configmaps?labelSelector=cloud-native-challenge%3Dbenchmark%2Ctype%3Dresourceusage";
const IDENTITY: &str = "/api/v1/namespaces/contest/configmaps?labelSelector=type%3Dresourceusage%2Ccloud-native-challenge%3Dbenchmark";
const OBJECTS: usize = 1000;
/// Turns that each one's time is cut into.
const TURNS: u32 = 5;

/// Who is listed through.
struct Runner {
    raw: Raw,
    target: String,
    gzip: bool,
    pid: Option<u32>,
    right: Vec<u8>,
    lists: u32,
    time: Duration,
    cpu: u64,
    form: String,
}

impl Runner {
    fn new(raw: Raw, target: &str, gzip: bool, pid: Option<u32>) -> Self {
        let mut runner = Self {
            raw,
            target: target.to_owned(),
            gzip,
            pid,
            right: Vec::new(),
            lists: 0,
            time: Duration::ZERO,
            cpu: 0,
            form: String::new(),
        };
        // The first connects, and fills the mirror.
        for _ in 0..3 {
            assert_eq!(runner.raw.get(target, gzip).items(), OBJECTS);
        }
        let reply = runner.raw.get(target, gzip);
        let coding = if reply.gzip { "gzip" } else { "plain" };
        runner.form = format!("{} KB {coding}", reply.body.len() / 1000);
        runner.right = reply.text();
        runner
    }

    fn run(&mut self, time: Duration) {
        let cpu = self.pid.map_or(0, process::cpu);
        let began = Instant::now();
        while began.elapsed() < time {
            let text = self.raw.get(&self.target, self.gzip).text();
            assert!(text == self.right, "the list changed");
            self.lists += 1;
        }
        self.time += began.elapsed();
        self.cpu += self.pid.map_or(0, process::cpu) - cpu;
    }

    fn rate(&self) -> f64 {
        f64::from(self.lists) / self.time.as_secs_f64()
    }

    fn each(&self) -> f64 {
        self.cpu as f64 / 1e6 / f64::from(self.lists)
    }
}

fn scene(path: &Path, extra: &[&str]) -> Scene {
    let scene = Scene::with(Program::new(path), Options::default(), extra);
    for n in 0..OBJECTS {
        let map = object::contest_configmap("contest", &format!("c-{n:04}"), "resourceusage", n);
        scene.server.put(&CONFIGMAPS, map);
    }
    for (target, gzip) in [(GZIP, true), (IDENTITY, false)] {
        let answer = Raw::plain(scene.server.direct()).get(target, gzip);
        let mut headers = vec![("content-type", "application/json".to_owned())];
        if answer.gzip {
            headers.push(("content-encoding", "gzip".into()));
            headers.push(("vary", "Accept-Encoding".into()));
        }
        let canned = Action::Answer {
            status: 200,
            headers,
            body: answer.body,
        };
        let (_, query) = target.split_once('?').expect("it selects");
        scene.server.fail(query, Only::Lists, u32::MAX, canned);
    }
    scene.connected();
    scene
}

/// Prints the rows.
pub(crate) fn run(path: &Path, seconds: u64) {
    let skip = ["--drop-name-prefix", "skip-"];
    let (filtering, plain, live) = (scene(path, &skip), scene(path, &[]), scene(path, &skip));
    let version = live.client().list(GZIP).version();
    let _watch = live
        .client()
        .watching(&format!("{GZIP}&watch=true&resourceVersion={version}"));
    live.wait("the mirror is live", || live.server.watches_open() == 1);
    let nginx = Nginx::start(filtering.folder(), filtering.server.address());
    let any = format!("{GZIP}&resourceVersion=0");
    // The server has the watch a moment before the agent knows that it runs.
    live.wait("the live mirror answers", || {
        let before = live.server.lists();
        live.client().list(&any);
        live.server.lists() == before
    });
    let asked = live.server.lists();
    // The agent asks the server for gzip in any case.
    for (gzip, target, says) in [
        (true, GZIP, "client takes gzip"),
        (false, IDENTITY, "client takes no gzip"),
    ] {
        let agent = |scene: &Scene, target: &str| {
            let raw = Raw::plain(scene.client().address());
            Runner::new(raw, target, gzip, Some(scene.pid()))
        };
        let secure = Raw::secure(filtering.server.address(), filtering.server.pki());
        let mut runners = vec![
            Runner::new(secure, target, gzip, None),
            agent(&filtering, GZIP),
            agent(&plain, GZIP),
            agent(&live, &any),
        ];
        if let Ok(nginx) = &nginx {
            let raw = Raw::plain(nginx.address);
            runners.push(Runner::new(raw, target, gzip, Some(nginx.pid())));
        }
        let turn = Duration::from_secs(seconds) / TURNS;
        for _ in 0..TURNS {
            runners.iter_mut().for_each(|runner| runner.run(turn));
        }
        let missing = nginx.as_ref().err().map_or("", String::as_str);
        print(&runners, seconds, says, missing);
    }
    assert_eq!(live.server.lists(), asked, "the live mirror answers");
}

fn print(runners: &[Runner], seconds: u64, says: &str, missing: &str) {
    let rate = |runner: &Runner| format!("{:.0} ({})", runner.rate(), runner.form);
    let each = |runner: &Runner| format!("{:.2} ms", runner.each());
    let peer = runners.get(4);
    let peer_rate = peer.map_or_else(|| format!("not to be had: {missing}"), rate);
    let peer_each = peer.map_or_else(String::new, each);
    for (n, how, times) in [
        (1, "forwarded through the name filter", 1.0),
        (2, "forwarded, no filter", 1.0),
        (3, "`resourceVersion=0` from the live mirror, filtered", 3.0),
    ] {
        let words = format!("≥ {times:.0} × nginx");
        let missed = peer.map_or_else(String::new, |peer| {
            table::over(peer.rate() * times, runners[n].rate(), &words)
        });
        let what =
            format!("1,000 configmaps, one client, {seconds} s, {says}, {how}: lists a second");
        table::row(
            &what,
            &rate(&runners[0]),
            &peer_rate,
            &rate(&runners[n]),
            &missed,
        );
        let missed = table::over(runners[n].each(), 4.0, "≤ 4 ms");
        table::row(
            "... CPU of the proxy for a list",
            "",
            &peer_each,
            &each(&runners[n]),
            &missed,
        );
    }
}
