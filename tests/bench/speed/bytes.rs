//! Bytes on the line, TCP payload both ways: what a node reads when it reads it first, and when it comes back from an hour's
//! cut. In JSON and in protobuf, from a server that compresses large lists and from one that does not.
//!
//! No hour passes: what an hour brings is put into the server while the line is cut. What a cut-off agent itself sends is
//! connections that nobody answers.

use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use crate::node;
use crate::node::Part;
use crate::support::apiserver::ApiServer;
use crate::support::apiserver::Options;
use crate::support::cable::Counters;
use crate::support::cable::Mode;
use crate::support::client::Next;
use crate::support::client::Watch;
use crate::support::scene::Program;
use crate::support::scene::Scene;

const LONG: Duration = Duration::from_secs(60);
/// Nothing has crossed for so long: all has.
const STILL: Duration = Duration::from_millis(200);
/// How often the recorded services and slices are in a cluster.
const CLUSTERS: [usize; 2] = [1, 10];

/// How objects are asked for, and whether large lists come compressed.
#[derive(Clone, Copy)]
struct Way {
    protobuf: bool,
    gzip: bool,
}

const WAYS: [Way; 4] = [
    Way {
        protobuf: false,
        gzip: false,
    },
    Way {
        protobuf: false,
        gzip: true,
    },
    Way {
        protobuf: true,
        gzip: false,
    },
    Way {
        protobuf: true,
        gzip: true,
    },
];

/// One thing measured.
struct Figure {
    what: String,
    /// Bytes of the lists' bodies as they are served without gzip; 0 of what is no list.
    bodies: usize,
    line: Counters,
}

/// Prints the tables.
pub(crate) fn run(path: &Path) {
    let tables: Vec<_> = std::thread::scope(|scope| {
        let spawned =
            CLUSTERS.map(|times| WAYS.map(|way| scope.spawn(move || column(path, way, times))));
        spawned
            .into_iter()
            .map(|table| table.map(|column| column.join().expect("no panic")))
            .collect()
    });
    for (times, columns) in CLUSTERS.into_iter().zip(tables) {
        println!(
            "\n| bytes up + down; a cluster of {} services | JSON | JSON, gzip | protobuf | protobuf, gzip | bodies |\n\
             |---|---|---|---|---|---|",
            node::SERVICE_COUNT * times
        );
        for row in 0..columns[0].len() {
            let figures = columns.each_ref().map(|column| &column[row]);
            let cells = figures.map(|figure| format!("{} + {}", figure.line.up, figure.line.down));
            let (json, protobuf) = (figures[0].bodies, figures[2].bodies);
            let share = match json {
                0 => String::new(),
                json => format!(
                    "{protobuf} of {json}: {:.0} %",
                    100.0 * protobuf as f64 / json as f64
                ),
            };
            println!("| {} | {} | {share} |", figures[0].what, cells.join(" | "));
        }
    }
}

/// A scene, what crosses its line, and its clients.
struct Bench {
    scene: Scene,
    before: Counters,
    watches: Vec<Watch>,
    figures: Vec<Figure>,
}

impl Bench {
    /// Waits until nothing crosses, and notes what has since the last note.
    fn note(&mut self, what: &str, bodies: usize) {
        let (mut last, mut since) = (self.scene.cable.counters(), Instant::now());
        while since.elapsed() < STILL {
            std::thread::sleep(Duration::from_millis(10));
            let now = self.scene.cable.counters();
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
        self.figures.push(Figure {
            what: what.to_owned(),
            bodies,
            line: last.since(&self.before),
        });
        self.before = last;
    }

    /// Opens the part's watches, which ask for their objects too, and reads those.
    fn open(&mut self, part: &Part) {
        let (client, direct) = (self.scene.client(), self.scene.direct());
        let mut bodies = 0;
        for target in &part.targets {
            let (path, selectors) = target.split_once('?').expect("a query");
            let body = direct.list(target);
            bodies += body.body.len();
            let mut watch = client.watching(&format!(
                "{path}?allowWatchBookmarks=true&{selectors}&resourceVersionMatch=NotOlderThan&sendInitialEvents=true&watch=true"
            ));
            let items = body.items().len();
            (0..items).for_each(|_| assert_eq!(watch.event().event, "ADDED", "{target}"));
            assert_eq!(watch.event().event, "BOOKMARK", "{target}");
            self.watches.push(watch);
        }
        self.followed();
        self.note(&part.what, bodies);
    }

    fn followed(&self) {
        let all = self.watches.len();
        self.scene.within(LONG, "every watch runs", || {
            self.scene.server.watches_open() == all
        });
    }

    /// Cuts the line, lets happen what happens in an hour, and waits until the clients know of it; that takes so many lists.
    fn hour(&mut self, what: &str, lists: usize, happens: impl FnOnce(&ApiServer) -> usize) {
        self.scene.cut_off(Mode::Reset);
        self.scene.wait("the server notices", || {
            self.scene.server.watches_open() == 0
        });
        node::quiet(&self.scene.server);
        let events = happens(&self.scene.server);
        self.before = self.scene.cable.counters();
        self.scene.server.forget_requests();
        self.scene.restore();
        self.followed();
        let deadline = Instant::now() + LONG;
        let mut seen = 0;
        while seen < events {
            assert!(
                Instant::now() < deadline,
                "{what}: {seen} of {events} events"
            );
            seen += self.heard();
        }
        self.note(what, 0);
        assert_eq!(seen + self.heard(), events, "{what}: each event once");
        assert_eq!(self.scene.server.lists(), lists, "{what}");
    }

    /// Counts the changes that have come to all watches.
    fn heard(&mut self) -> usize {
        let mut count = 0;
        for watch in &mut self.watches {
            loop {
                match watch.next(Duration::from_millis(1)) {
                    Next::Event(event) => count += usize::from(event.event != "BOOKMARK"),
                    Next::Silent => break,
                    other => panic!("a watch stays open: {other:?}"),
                }
            }
        }
        count
    }
}

fn column(path: &Path, way: Way, times: usize) -> Vec<Figure> {
    let options = Options {
        gzip: way.gzip,
        ..Options::default()
    };
    let scene = Scene::with(Program::new(path), options, &[]);
    let scene = if way.protobuf {
        scene.in_protobuf()
    } else {
        scene
    };
    node::fill(&scene.server, times);
    scene.connected();
    let mut bench = Bench {
        scene,
        before: Counters::default(),
        watches: Vec::new(),
        figures: Vec::new(),
    };
    bench.note("the connection", 0);
    for part in node::parts() {
        bench.open(&part);
    }
    let all = bench.figures.iter().fold(
        Figure {
            what: "all of it, read for the first time".to_owned(),
            bodies: 0,
            line: Counters::default(),
        },
        |mut all, figure| {
            all.bodies += figure.bodies;
            all.line.up += figure.line.up;
            all.line.down += figure.line.down;
            all
        },
    );
    bench.figures.push(all);
    bench.hour(
        "back from an hour in which nothing changed: no list",
        0,
        |_| 0,
    );
    bench.hour("... 50 changes: no list", 0, |server| {
        node::fifty(server, 1)
    });
    bench.hour(
        "... 50 changes, and 11 other nodes told of themselves every 5 minutes: no list",
        0,
        |server| node::fifty(server, 2) + node::heartbeats(server),
    );
    let collections = bench.watches.len();
    bench.hour(
        "... 50 changes, and the API server knows no history (410): all lists anew",
        collections,
        |server| {
            let events = node::fifty(server, 3);
            server.compact();
            // The node's two changes are one difference, for either who reads it.
            events - 2
        },
    );
    bench.figures
}
