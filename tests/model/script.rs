//! What happens in a run: who asks how, and the steps. A seed says all of it; any part of the steps is a script as well,
//! so that a failing one can be made shorter.

use super::form::Form;
use super::form::JSON;
use super::history::Selection;
use super::reflector::Manner;
use crate::support::apiserver::kind::CAMERAS;
use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::apiserver::kind::Kind;
use crate::support::apiserver::kind::SECRETS;
use crate::support::cable::Mode;
use crate::support::random::Random;

/// What the agent keeps from clients, where it filters.
pub(crate) const HIDDEN: &str = "skip-";

/// The objects that come and go.
pub(crate) const KEYS: [(&str, &str); 7] = [
    ("a", "o-0"),
    ("a", "o-1"),
    ("b", "o-0"),
    ("b", "o-2"),
    ("a", "skip-0"),
    ("b", "o-3"),
    ("a", "o-4"),
];

/// One step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Step {
    /// Create or change one of `KEYS`, with or without the label; `big`: of 200 KB.
    Put {
        key: usize,
        label: bool,
        big: bool,
    },
    Delete {
        key: usize,
    },
    /// Delete it and make another of its name.
    Recreate {
        key: usize,
        label: bool,
    },
    /// Many changes at once.
    Burst {
        count: usize,
        big: bool,
    },
    /// Writes to other resources move the version on.
    Elsewhere {
        count: u64,
    },
    /// Cut the line; `noticed`: wait until the agent knows.
    Cut {
        mode: Mode,
        noticed: bool,
    },
    Mend {
        noticed: bool,
    },
    /// `kill -9` of the agent, and a start.
    Kill,
    /// SIGTERM, and a start.
    Restart,
    /// The server's history is forgotten, its watches end.
    Compact,
    /// The server's watches end with 410.
    Expire,
    /// The server's connections are closed, as when it restarts; or its watches end well.
    ServerRestart {
        well: bool,
    },
    /// A copy of etcd, to go back to.
    Backup,
    /// etcd is put back to the copy, and the API server restarted.
    Rewind,
    /// A client leaves, comes back at its version, stops reading.
    Leave {
        client: usize,
    },
    Return {
        client: usize,
    },
    Stall {
        client: usize,
    },
    /// A list by a client that was never seen before, or by one that was.
    List {
        selection: usize,
        new: bool,
        any: bool,
    },
    /// Everybody has what the server has.
    Settle,
}

/// A whole run.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) seed: u64,
    pub(crate) kind: &'static Kind,
    pub(crate) form: &'static Form,
    pub(crate) filtered: bool,
    pub(crate) selections: Vec<Selection>,
    pub(crate) manners: Vec<Manner>,
    pub(crate) server: Server,
    pub(crate) steps: Vec<Step>,
}

/// How the server is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Server {
    pub(crate) http2: bool,
    pub(crate) watch_list: bool,
    /// Milliseconds between bookmarks.
    pub(crate) bookmarks: u64,
    /// Milliseconds before each later event of a watch.
    pub(crate) late: u64,
}

impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Script {
    /// The script of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::seeded(seed);
        let random = &mut random;
        let filtered = random.below(3) == 0;
        let hidden = filtered.then_some(HIDDEN);
        let selections = selections(hidden, random);
        let clients = 2 + random.below(3) as usize;
        let manners = (0..clients)
            .map(|_| Manner {
                selection: pick(random, &selections),
                in_one: random.below(2) == 0,
                bookmarks: random.below(4) > 0,
                lasts: pick(random, &[1, 2, 300, 300]),
            })
            .collect();
        let length = 6 + random.below(30) as usize;
        let mut steps: Vec<Step> = Vec::new();
        for _ in 0..length {
            let step = step(random, clients, selections.len());
            steps.push(step);
        }
        Self {
            seed,
            kind: pick(random, &[&CONFIGMAPS, &CONFIGMAPS, &SECRETS, &CAMERAS]),
            form: &JSON,
            filtered,
            selections,
            manners,
            server: Server {
                http2: random.below(5) > 0,
                watch_list: random.below(2) == 0,
                bookmarks: pick(random, &[15, 100, 60_000]),
                late: pick(random, &[0, 0, 0, 5]),
            },
            steps,
        }
    }
}

/// Two to four ways to select from one resource.
fn selections(hidden: Option<&'static str>, random: &mut Random) -> Vec<Selection> {
    let all = Selection {
        namespace: None,
        labelled: false,
        name: None,
        hidden,
    };
    let mut selections = vec![
        all,
        Selection {
            namespace: Some("a"),
            ..all
        },
        Selection {
            labelled: true,
            ..all
        },
        Selection {
            namespace: Some("a"),
            labelled: true,
            ..all
        },
        Selection {
            namespace: Some("a"),
            name: Some("o-1"),
            ..all
        },
        Selection {
            namespace: Some("b"),
            ..all
        },
    ];
    let count = 2 + random.below(3) as usize;
    while selections.len() > count {
        let gone = random.below(selections.len() as u64) as usize;
        selections.remove(gone);
    }
    selections
}

fn pick<T: Copy>(random: &mut Random, from: &[T]) -> T {
    from[random.below(from.len() as u64) as usize]
}

fn step(random: &mut Random, clients: usize, selections: usize) -> Step {
    let client = random.below(clients as u64) as usize;
    let key = random.below(KEYS.len() as u64) as usize;
    let label = random.below(2) == 0;
    let noticed = random.below(2) == 0;
    match random.below(100) {
        0..=21 => Step::Put {
            key,
            label,
            big: random.below(60) == 0,
        },
        22..=31 => Step::Delete { key },
        32..=37 => Step::Recreate { key, label },
        38..=41 => Step::Burst {
            count: 3 + random.below(12) as usize,
            big: random.below(12) == 0,
        },
        42..=43 => Step::Elsewhere {
            count: 1 + random.below(30),
        },
        44..=51 => {
            // A line that swallows packets is noticed after 4.5 s of silence: now and then.
            let silent = random.below(30) == 0;
            let modes: &[Mode] = match silent {
                true => &[Mode::Drop, Mode::Blackhole, Mode::Stall],
                false => &[Mode::Refuse, Mode::Refuse, Mode::Reset],
            };
            Step::Cut {
                mode: pick(random, modes),
                noticed,
            }
        }
        52..=60 => Step::Mend { noticed },
        61..=66 => Step::Kill,
        67..=68 => Step::Restart,
        69..=72 => Step::Compact,
        73..=74 => Step::Expire,
        75..=77 => Step::ServerRestart { well: label },
        78..=79 => Step::Backup,
        80 => Step::Rewind,
        81..=84 => Step::Leave { client },
        85..=88 => Step::Return { client },
        89 => Step::Stall { client },
        90..=95 => Step::List {
            selection: random.below(selections as u64) as usize,
            new: label,
            any: random.below(3) == 0,
        },
        _ => Step::Settle,
    }
}
