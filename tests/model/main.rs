//! The whole agent against a reference model: `cargo run --release --example model`.
//!
//!     cargo run --release --example model -- [--runs N] [--seed S] [--jobs J]
//!
//! Ten thousand runs unless told otherwise, from seed 1 on, 24 at a time (they mostly wait). Each run is one agent, as a process, between
//! the fake API server and clients that do what client-go's reflectors do, and a script of random steps: objects come, change
//! and go, the line is cut in several ways, the agent is killed, the server restarts, forgets its history, or is put back
//! to an older state, clients leave, lag and return. What each client sees is held against every state that the server ever had
//! (`seen.rs` says the rules). A run that fails is made shorter, printed with its seed, and ends all with 1; `--runs 1 --seed
//! S` makes it again, `TOONO_MODEL_DEBUG=1` has the agent say more.
#![allow(clippy::print_stdout, clippy::print_stderr)] // Printing is what it does.

#[path = "run.rs"]
mod model;
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use model::Failure;
use model::Script;
use support::scene::Program;

/// What the command line asks for.
struct Wanted {
    runs: u64,
    seed: u64,
    jobs: u64,
}

fn read(mut arguments: impl Iterator<Item = String>) -> Result<Wanted, String> {
    let mut wanted = Wanted {
        runs: 10_000,
        seed: 1,
        jobs: 24,
    };
    while let Some(flag) = arguments.next() {
        let place = match flag.as_str() {
            "--runs" => &mut wanted.runs,
            "--seed" => &mut wanted.seed,
            "--jobs" => &mut wanted.jobs,
            _ => return Err(format!("{flag}: there are --runs, --seed and --jobs")),
        };
        let value = arguments.next().unwrap_or_default();
        *place = value
            .parse()
            .map_err(|_| format!("{flag} {value:?}: not a number"))?;
    }
    if !(1..=200).contains(&wanted.jobs) {
        return Err("--jobs: 1 to 200".into());
    }
    Ok(wanted)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    // Started again by a scene, this program is the agent.
    if arguments.get(1).is_some_and(|verb| verb == "agent") {
        return toono::shell::cli::main(arguments, |_| Err(std::io::ErrorKind::Unsupported.into()));
    }
    let wanted = match read(arguments.into_iter().skip(1)) {
        Ok(wanted) => wanted,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(64);
        }
    };
    let program = Program::new(std::env::current_exe().expect("this program has a file"));
    let (began, done, next) = (
        Instant::now(),
        AtomicU64::new(0),
        AtomicU64::new(wanted.seed),
    );
    let (found, failed) = (Mutex::new(None), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for place in 0..wanted.jobs {
            let (program, next, done, found, failed, wanted) =
                (&program, &next, &done, &found, &failed, &wanted);
            scope.spawn(move || {
                while !failed.load(Relaxed) {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= wanted.seed.saturating_add(wanted.runs) {
                        return;
                    }
                    let script = Script::new(seed);
                    if let Err(failure) = model::run(program, &script, place as u8) {
                        if !failed.swap(true, Relaxed) {
                            report("FOUND", &script, &failure);
                            *found.lock().expect("nobody panics with it") = Some((script, failure));
                        }
                        return;
                    }
                    let count = done.fetch_add(1, Relaxed) + 1;
                    if count.is_multiple_of(500) {
                        println!("{count} runs in {:.0} s", began.elapsed().as_secs_f64());
                    }
                }
            });
        }
    });
    let found = found.into_inner().expect("nobody panics with it");
    let Some((script, failure)) = found else {
        println!(
            "{} runs in {:.0} s, nothing found",
            done.into_inner(),
            began.elapsed().as_secs_f64()
        );
        return ExitCode::SUCCESS;
    };
    let (script, failure) = model::shrunk(&program, &script, failure, 0);
    report("SHORTEST", &script, &failure);
    ExitCode::FAILURE
}

fn report(title: &str, script: &Script, failure: &Failure) {
    for line in &failure.journal {
        eprintln!("    {line}");
    }
    eprintln!(
        "{title}: seed {} step {}: {}",
        script.seed, failure.step, failure.what
    );
    eprintln!("{script:#?}");
}
