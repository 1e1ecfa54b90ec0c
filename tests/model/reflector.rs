//! A client that keeps a copy of a selection, as client-go's reflector does (kubernetes-wire 3.2, 3.3), with its pauses
//! shortened: list at 0 and watch, or both in one stream; the same watch again when it was refused, at the last version
//! when it ended after an event, a list when it ended without one or with an error.

use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::thread::JoinHandle;
use std::time::Duration;

use super::form::Said;
use super::history::Selection;
use super::history::Store;
use super::seen::Seen;
use super::stage::Stage;
use crate::support::client::Next;
use crate::support::client::Watch;

/// How often an open watch that says nothing is left to look for orders.
const LOOK: Duration = Duration::from_millis(40);
/// Pauses before a retry: shortened.
const FIRST: Duration = Duration::from_millis(4);
const LONGEST: Duration = Duration::from_millis(60);

/// How a client asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    pub(crate) selection: Selection,
    /// Objects and changes in one stream, the default of client-go since 1.35.
    pub(crate) in_one: bool,
    /// It wants bookmarks; one stream without them has no end of its first events, so `in_one` always does.
    pub(crate) bookmarks: bool,
    /// It asks for watches that last so many seconds.
    pub(crate) lasts: u32,
}

/// What it is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Work,
    /// Read nothing of the open watch.
    Stall,
    /// Close the watch and keep the version.
    Away,
    Stop,
}

struct Shared {
    order: Mutex<Order>,
    told: Condvar,
    seen: Mutex<Seen>,
}

/// The running client.
pub(crate) struct Reflector {
    pub(crate) manner: Manner,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Reflector {
    pub(crate) fn start(number: usize, manner: Manner, stage: Arc<Stage>) -> Self {
        let shared = Arc::new(Shared {
            order: Mutex::new(Order::Work),
            told: Condvar::new(),
            seen: Mutex::new(Seen::new(manner.selection)),
        });
        let work = Work {
            number,
            manner,
            stage,
            shared: Arc::clone(&shared),
            pause: FIRST,
        };
        Self {
            manner,
            shared,
            thread: Some(std::thread::spawn(move || work.run())),
        }
    }

    pub(crate) fn order(&self, order: Order) {
        *lock(&self.shared.order) = order;
        self.shared.told.notify_all();
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.shared.seen)
    }
}

impl Drop for Reflector {
    fn drop(&mut self) {
        self.order(Order::Stop);
        if let Some(thread) = self.thread.take() {
            // A panic of it is on record already.
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
enum Want {
    /// A list: the first, one not older than what is known, or one of what there is.
    First,
    Again,
    Anything,
    Watch,
}

struct Work {
    number: usize,
    manner: Manner,
    stage: Arc<Stage>,
    shared: Arc<Shared>,
    pause: Duration,
}

impl Work {
    fn run(mut self) {
        let mut want = Want::First;
        loop {
            if self.waits(&[Order::Away]) == Order::Stop {
                return;
            }
            let done = match want {
                Want::Watch => self.watch(None),
                _ if self.manner.in_one => self.watch(Some(&want)),
                _ => self.list(&want),
            };
            match done {
                Ok(next) => want = next,
                Err(why) => {
                    self.stage
                        .fail(format!("client {} {:?}: {why}", self.number, self.manner));
                    return;
                }
            }
        }
    }

    /// Waits while the order is one of these; the one that is then.
    fn waits(&self, orders: &[Order]) -> Order {
        let mut order = lock(&self.shared.order);
        while orders.contains(&order) {
            order = self
                .shared
                .told
                .wait(order)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *order
    }

    fn ordered(&self) -> Order {
        *lock(&self.shared.order)
    }

    fn back_off(&mut self) {
        std::thread::sleep(self.pause);
        self.pause = (self.pause * 2).min(LONGEST);
    }

    fn version(&self) -> u64 {
        lock(&self.shared.seen).version
    }

    fn excuse(&self) {
        lock(&self.shared.seen).excused = true;
    }

    fn list(&mut self, want: &Want) -> Result<Want, String> {
        let options = match want {
            Want::First => "limit=500&resourceVersion=0".to_owned(),
            Want::Anything => String::new(),
            _ => format!("resourceVersion={}", self.version()),
        };
        let least = self.stage.history().least;
        let path = self.stage.path(&self.manner.selection, &options);
        let Ok(answer) = self.stage.client().get(&path) else {
            self.back_off();
            return Ok(self.same(want));
        };
        if answer.status != 200 {
            self.stage
                .note(|| format!("client {}: GET {path}: {}", self.number, answer.status));
            return if self.stage.refusal(&answer)? {
                self.excuse();
                if *want == Want::Anything {
                    self.back_off();
                }
                Ok(Want::Anything)
            } else {
                self.back_off();
                Ok(self.same(want))
            };
        }
        let listed = (self.stage.form.list)(&answer)?;
        let version = listed.version;
        let history = self.stage.history();
        let mut seen = lock(&self.shared.seen);
        let kept = seen.list(&history, listed, least, *want == Want::Anything);
        self.stage.note(|| {
            let names = super::seen::names(&seen.store);
            format!("client {}: GET {path}: {version} {names}", self.number)
        });
        kept.map_err(|why| format!("GET {path}: {why}"))?;
        self.pause = FIRST;
        Ok(Want::Watch)
    }

    fn same(&self, want: &Want) -> Want {
        match want {
            Want::First => Want::First,
            Want::Anything => Want::Anything,
            Want::Again | Want::Watch => Want::Again,
        }
    }

    /// A watch; with `first`, one that begins with all objects.
    fn watch(&mut self, first: Option<&Want>) -> Result<Want, String> {
        let mut options = vec![format!("timeoutSeconds={}&watch=true", self.manner.lasts)];
        if self.manner.bookmarks || first.is_some() {
            options.push("allowWatchBookmarks=true".into());
        }
        match first {
            Some(want) => {
                options.push("sendInitialEvents=true&resourceVersionMatch=NotOlderThan".into());
                let version = self.version();
                if *want == Want::Again {
                    options.push(format!("resourceVersion={version}"));
                }
            }
            None => options.push(format!("resourceVersion={}", self.version())),
        }
        let path = self.stage.path(&self.manner.selection, &options.join("&"));
        let least = self.stage.history().least;
        let again = first.map_or(Want::Watch, |want| self.same(want));
        let mut watch = match self.stage.client().watch(&path) {
            Ok(watch) => watch,
            Err(_) => {
                self.back_off();
                return Ok(again);
            }
        };
        self.stage
            .note(|| format!("client {}: GET {path}: {}", self.number, watch.status));
        match watch.status {
            200 => {}
            // The server can't bring both in one stream, or not now.
            _ if first.is_some() => {
                self.back_off();
                return if matches!(watch.status, 410 | 504) {
                    self.excuse();
                    Ok(Want::Anything)
                } else {
                    Ok(again)
                };
            }
            503 if watch
                .headers
                .iter()
                .any(|(name, _)| name.eq_ignore_ascii_case("retry-after")) =>
            {
                self.back_off();
                return Ok(Want::Watch);
            }
            429 => {
                self.back_off();
                return Ok(Want::Watch);
            }
            410 => {
                self.excuse();
                return Ok(Want::Again);
            }
            500 | 502 | 503 | 504 => {
                self.back_off();
                return Ok(Want::Again);
            }
            other => return Err(format!("GET {path}: {other}")),
        }
        let initial = first.map(|want| (least, *want == Want::Anything));
        let (next, told) = self
            .read(&mut watch, initial, &again)
            .map_err(|why| format!("GET {path}: {why}"))?;
        if told {
            self.pause = FIRST;
        } else {
            self.back_off();
        }
        Ok(next)
    }

    /// Reads a watch to its end; what comes then, and whether anything was told. `initial`: it begins with all objects.
    fn read(
        &mut self,
        watch: &mut Watch,
        mut initial: Option<(usize, bool)>,
        again: &Want,
    ) -> Result<(Want, bool), String> {
        let mut stream = {
            // The history is always locked first.
            let history = self.stage.history();
            lock(&self.shared.seen).open(&history)
        };
        let mut fresh = Store::new();
        let mut told = false;
        loop {
            match self.ordered() {
                Order::Work => {}
                Order::Stall => {
                    stream.stalled = true;
                    self.waits(&[Order::Stall]);
                    continue;
                }
                // It comes back with what it has; what was begun is begun anew.
                Order::Away | Order::Stop if initial.is_some() => {
                    return Ok((self.same(again), true));
                }
                Order::Away | Order::Stop => return Ok((Want::Watch, true)),
            }
            let said = match watch.next(LOOK) {
                Next::Silent => continue,
                // Before the first events have ended the attempt starts afresh; a watch without any event is followed by a
                // list.
                Next::Ended | Next::Broken(_) if initial.is_some() => {
                    return Ok((self.same(again), told));
                }
                Next::Ended | Next::Broken(_) => {
                    return Ok((if told { Want::Watch } else { Want::Again }, told));
                }
                Next::Event(event) => (self.stage.form.event)(&event)?,
            };
            told = true;
            let history = self.stage.history();
            let mut seen = lock(&self.shared.seen);
            self.stage
                .note(|| format!("client {}: {}", self.number, brief(&said)));
            if let Said::Error(code) = said {
                seen.excused |= matches!(code, 410 | 504);
                // One stream that is ahead of the server asks again for anything.
                let ahead = code == 504 || initial.is_some();
                return Ok((if ahead { Want::Anything } else { Want::Again }, false));
            }
            match initial {
                None => seen.event(&history, &mut stream, said)?,
                Some((least, recent)) => match said {
                    Said::Added(thing) => {
                        let doubled = fresh.insert(thing.key.clone(), Arc::new(thing));
                        if let Some(thing) = doubled {
                            return Err(format!("{thing:?} came twice among the first events"));
                        }
                    }
                    Said::Bookmark {
                        version,
                        initial: true,
                    } => {
                        let store = std::mem::take(&mut fresh);
                        seen.whole(&history, store, version, least, recent)?;
                        stream = seen.open(&history);
                        initial = None;
                    }
                    other => return Err(format!("{other:?} among the first events")),
                },
            }
        }
    }
}

/// An event in a few words.
fn brief(said: &Said) -> String {
    match said {
        Said::Added(thing) => format!("ADDED {}@{}", thing.key, thing.version),
        Said::Modified(thing) => format!("MODIFIED {}@{}", thing.key, thing.version),
        Said::Deleted(thing) => format!("DELETED {}@{}", thing.key, thing.version),
        other => format!("{other:?}"),
    }
}
