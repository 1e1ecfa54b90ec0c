//! What the agent needs in time, CPU and bytes, beside direct and a plain nginx where that can be compared:
//! `tests/bench/run`.
//!
//! `speed BINARY [--seconds N] [--only PART] [--alarm SECONDS]`: N seconds (10) for each one of the contest's resource
//! test, whose own time is 60; all parts, or one of `contest`, `lists`, `watches`, `offline`, `line`, `memory`,
//! `bytes`. With `--alarm` only the slow line for so long, to see whether the agent ever takes it for cut.
#![allow(clippy::print_stdout)] // Printing is what it is for.

#[path = "speed/alarm.rs"]
mod alarm;
#[path = "speed/bytes.rs"]
mod bytes;
#[path = "speed/contest.rs"]
mod contest;
#[path = "speed/line.rs"]
mod line;
#[path = "speed/lists.rs"]
mod lists;
#[path = "speed/memory.rs"]
mod memory;
#[path = "speed/nginx.rs"]
mod nginx;
#[path = "speed/node.rs"]
mod node;
#[path = "speed/offline.rs"]
mod offline;
#[path = "speed/process.rs"]
mod process;
#[path = "speed/raw.rs"]
mod raw;
#[path = "../support/mod.rs"]
mod support;
#[path = "speed/table.rs"]
mod table;

#[path = "speed/watches.rs"]
mod watches;

use std::path::PathBuf;
use std::time::Duration;

fn main() {
    let mut path = PathBuf::from("target/release/toono");
    let mut seconds = 10;
    let mut only = None;
    let mut alarm = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--seconds" {
            let value = arguments.next().and_then(|text| text.parse().ok());
            seconds = value.expect("--seconds takes a number");
        } else if argument == "--only" {
            only = Some(arguments.next().expect("--only takes a part's name"));
        } else if argument == "--alarm" {
            let value = arguments.next().and_then(|text| text.parse().ok());
            alarm = Some(Duration::from_secs(value.expect("--alarm takes a number")));
        } else {
            path = argument.into();
        }
    }
    if only.as_deref() != Some("bytes") {
        table::head();
    }
    if let Some(time) = alarm {
        return alarm::run(&path, time);
    }
    let parts: [(&str, &dyn Fn()); 7] = [
        ("contest", &|| contest::run(&path, seconds)),
        ("lists", &|| lists::run(&path)),
        ("watches", &|| watches::run(&path)),
        ("offline", &|| offline::run(&path)),
        ("line", &|| line::run(&path)),
        ("memory", &|| memory::run(&path)),
        ("bytes", &|| bytes::run(&path)),
    ];
    for (name, run) in parts {
        if only.as_deref().is_none_or(|only| only == name) {
            run();
        }
    }
}
