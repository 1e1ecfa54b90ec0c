//! The targets, and the loop that feeds them. Input number `index` of a target depends on the seed, the target's name
//! and `index` alone, so each can be made again by itself.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

mod golden;
mod gzip;
mod json;
mod life;
mod list;
mod log;
mod make;
mod media;
pub(crate) mod meter;
mod object;
mod protobuf;
mod record;
mod request;
mod selector;
mod token;
mod watch;

use crate::support::random::Random;

/// No input may make more than this be held at once; most targets have a bound of their own.
const MEMORY: usize = 64 << 20;

/// What is fuzzed.
pub(crate) struct Target {
    /// Its name.
    pub(crate) name: &'static str,
    /// How many of a hundred inputs go to it.
    share: u64,
    make: fn(&mut Random) -> Vec<u8>,
    check: fn(&mut Random, &[u8]),
}

/// All targets.
pub(crate) const TARGETS: [Target; 19] = [
    Target {
        name: "request",
        share: 7,
        make: request::make_request,
        check: request::check_request,
    },
    Target {
        name: "query",
        share: 5,
        make: request::make_query,
        check: request::check_query,
    },
    Target {
        name: "media",
        share: 7,
        make: media::make,
        check: media::check,
    },
    Target {
        name: "token",
        share: 2,
        make: token::make,
        check: token::check,
    },
    Target {
        name: "labels",
        share: 5,
        make: selector::make_labels,
        check: selector::check_labels,
    },
    Target {
        name: "fields",
        share: 6,
        make: selector::make_fields,
        check: selector::check_fields,
    },
    Target {
        name: "json",
        share: 9,
        make: json::make,
        check: json::check,
    },
    Target {
        name: "list",
        share: 9,
        make: list::make,
        check: list::check,
    },
    Target {
        name: "watch",
        share: 7,
        make: watch::make,
        check: watch::check,
    },
    Target {
        name: "object",
        share: 8,
        make: object::make,
        check: object::check,
    },
    Target {
        name: "record",
        share: 8,
        make: record::make,
        check: record::check,
    },
    Target {
        name: "gzip",
        share: 3,
        make: gzip::make,
        check: gzip::check,
    },
    Target {
        name: "list-gzip",
        share: 1,
        make: gzip::make_list,
        check: gzip::check_list,
    },
    Target {
        name: "log",
        share: 4,
        make: log::make,
        check: log::check,
    },
    Target {
        name: "protobuf",
        share: 3,
        make: protobuf::make_message,
        check: protobuf::check_message,
    },
    Target {
        name: "pb-list",
        share: 6,
        make: protobuf::make_list,
        check: protobuf::check_list,
    },
    Target {
        name: "pb-watch",
        share: 4,
        make: protobuf::make_watch,
        check: protobuf::check_watch,
    },
    Target {
        name: "pb-object",
        share: 4,
        make: protobuf::make_object,
        check: protobuf::check_object,
    },
    Target {
        name: "mixed",
        share: 2,
        make: protobuf::make_mixed,
        check: protobuf::check_mixed,
    },
];

/// The input that is being tried: its target, its number, itself.
#[derive(Default)]
struct Current {
    target: &'static str,
    index: u64,
    input: Vec<u8>,
}

static CURRENT: Mutex<Option<Current>> = Mutex::new(None);

/// How many inputs were begun.
pub(crate) static BEGUN: AtomicU64 = AtomicU64::new(0);

/// What is being tried, in words: target, number, and the input as a byte string.
pub(crate) fn current() -> String {
    let current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
    match current.as_ref() {
        Some(Current {
            target,
            index,
            input,
        }) => {
            format!(
                "target {target} index {index}\ninput b\"{}\"",
                input.escape_ascii()
            )
        }
        None => "no input yet".to_owned(),
    }
}

impl Target {
    /// How many of `inputs` are its own.
    pub(crate) fn part_of(&self, inputs: u64) -> u64 {
        inputs.saturating_mul(self.share) / 100
    }

    /// Makes input number `index` and tries it. What is wrong is a panic.
    pub(crate) fn run(&self, seed: u64, index: u64) {
        let mut name = make::Digest::default();
        name.add(self.name.as_bytes());
        let mut mixed = Random::seeded(seed ^ name.0);
        let start = mixed.next() ^ Random::seeded(index).next();
        let mut random = Random::seeded(start);
        let input = (self.make)(&mut random);
        {
            let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
            let current = current.get_or_insert_default();
            (current.target, current.index) = (self.name, index);
            current.input.clear();
            current.input.extend_from_slice(&input);
        }
        BEGUN.fetch_add(1, Relaxed);
        meter::within(MEMORY, || (self.check)(&mut random, &input));
    }
}

/// The same inputs for everybody; the example has more.
#[cfg(test)]
#[test]
#[allow(clippy::print_stderr)] // Shown by the test harness when the test fails.
fn a_few_of_all_targets() {
    const SEED: u64 = 1;
    for target in &TARGETS {
        for index in 0..target.part_of(20_000) {
            let tried = std::panic::catch_unwind(|| target.run(SEED, index));
            if let Err(panic) = tried {
                eprintln!("seed {SEED} {}", current());
                std::panic::resume_unwind(panic);
            }
        }
    }
}
