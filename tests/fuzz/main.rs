//! Deterministic fuzzing of everything that reads bytes from outside: `cargo run --release --example fuzz`.
//!
//!     cargo run --release --example fuzz -- [--inputs N] [--seed S] [--from INDEX] [TARGET..]
//!
//! Ten million inputs, spread over all targets, unless told otherwise; with targets named, all of them go to those. Each
//! input is a mutated golden answer, random structure or random bytes, is fed whole and in random pieces, and must give
//! the same both times. It fails on a panic, on an input that takes longer than ten seconds, and on memory above the
//! bound that the parser states; then it prints seed, target, index and the input, and ends with 1. `--from INDEX
//! --inputs 1 TARGET` makes that input again.
#![allow(clippy::print_stdout, clippy::print_stderr)] // Printing is what it does.

#[path = "run.rs"]
mod fuzz;
mod support;

use std::alloc::GlobalAlloc;
use std::alloc::Layout;
use std::alloc::System;
use std::process::ExitCode;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::time::Instant;

use fuzz::BEGUN;
use fuzz::TARGETS;
use fuzz::Target;
use fuzz::meter;

/// An input that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(10);
/// Held at once, this ends the process before the machine suffers.
const TOO_MUCH: usize = 1 << 30;

struct Counting;

// SAFETY: every call is passed on to the system's allocator as it came; counting touches atomics only.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        meter::took(layout.size());
        // SAFETY: the caller's promises are the ones that are asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        meter::gave(layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What the command line asks for.
struct Wanted {
    inputs: u64,
    seed: u64,
    from: u64,
    names: Vec<String>,
}

fn read(mut arguments: impl Iterator<Item = String>) -> Result<Wanted, String> {
    let mut wanted = Wanted {
        inputs: 10_000_000,
        seed: 1,
        from: 0,
        names: Vec::new(),
    };
    while let Some(argument) = arguments.next() {
        let place = match argument.as_str() {
            "--inputs" => &mut wanted.inputs,
            "--seed" => &mut wanted.seed,
            "--from" => &mut wanted.from,
            name if TARGETS.iter().any(|target| target.name == name) => {
                wanted.names.push(argument);
                continue;
            }
            _ => return Err(format!("{argument}: neither a flag nor a target")),
        };
        let value = arguments.next().unwrap_or_default();
        *place = value
            .parse()
            .map_err(|_| format!("{argument} {value:?}: not a number"))?;
    }
    Ok(wanted)
}

fn main() -> ExitCode {
    let wanted = match read(std::env::args().skip(1)) {
        Ok(wanted) => wanted,
        Err(why) => {
            let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            eprintln!("{why}; targets are {}", names.join(" "));
            return ExitCode::from(64);
        }
    };
    let seed = wanted.seed;
    std::panic::set_hook(Box::new(move |panic| fail(seed, &panic.to_string())));
    std::thread::spawn(move || watch(seed));
    let named = |target: &&Target| wanted.names.iter().any(|name| name == target.name);
    let chosen: Vec<&Target> = TARGETS
        .iter()
        .filter(|target| wanted.names.is_empty() || named(target))
        .collect();
    println!("seed {seed}");
    let began = Instant::now();
    let mut total = 0;
    for target in &chosen {
        let inputs = if wanted.names.is_empty() {
            target.part_of(wanted.inputs)
        } else {
            wanted.inputs / chosen.len() as u64
        };
        let (begun, ((), peak)) = (
            Instant::now(),
            meter::peak(|| {
                for index in wanted.from..wanted.from.saturating_add(inputs) {
                    target.run(seed, index);
                }
            }),
        );
        total += inputs;
        println!(
            "{:10} {inputs:9} inputs {:8.1} s, at most {} KiB held",
            target.name,
            begun.elapsed().as_secs_f64(),
            peak / 1024
        );
    }
    println!(
        "{:10} {total:9} inputs {:8.1} s, nothing found",
        "all",
        began.elapsed().as_secs_f64()
    );
    ExitCode::SUCCESS
}

/// Says what was tried and ends the process.
fn fail(seed: u64, why: &str) {
    eprintln!("FOUND: {why}\nseed {seed} {}", fuzz::current());
    std::process::exit(1);
}

/// Ends the process when one input takes too long or too much.
fn watch(seed: u64) {
    let (mut last, mut since) = (BEGUN.load(Relaxed), Instant::now());
    loop {
        std::thread::sleep(Duration::from_millis(100));
        let begun = BEGUN.load(Relaxed);
        if begun != last {
            (last, since) = (begun, Instant::now());
        }
        if since.elapsed() > PATIENCE {
            fail(seed, "it hangs");
        }
        if meter::held() > TOO_MUCH {
            fail(seed, "it takes all memory");
        }
    }
}
