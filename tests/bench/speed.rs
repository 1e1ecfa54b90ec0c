//! What the agent needs in time, CPU and bytes, beside direct and a plain nginx where that can be compared:
//! `tests/bench/run`.
//!
//! `speed BINARY [--seconds N]`: N seconds (10) for each one of the contest's resource test, whose own time is 60.
#![allow(clippy::print_stdout)] // Printing is what it is for.

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

fn main() {
    let mut path = PathBuf::from("target/release/toono");
    let mut seconds = 10;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--seconds" {
            let value = arguments.next().and_then(|text| text.parse().ok());
            seconds = value.expect("--seconds takes a number");
        } else {
            path = argument.into();
        }
    }
    table::head();
    contest::run(&path, seconds);
    lists::run(&path);
    watches::run(&path);
    offline::run(&path);
    line::run(&path);
    memory::run(&path);
}
