//! The command line: verbs, help, exit codes.

use std::fmt::Write as _;
use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use crate::io::supervise::Spawn;
use crate::shell::config::Config;
use crate::shell::exit;
use crate::shell::exit::Error;
use crate::shell::flags;
use crate::shell::flags::Flag;
use crate::shell::logger;
use crate::shell::settings::Settings;
use crate::shell::start;
use crate::shell::wait;

/// A verb: its name, what follows it, what it is for, its flags.
type Verb = (&'static str, &'static str, &'static str, &'static [Flag]);

const VERBS: [Verb; 4] = [
    (
        "agent",
        "",
        "Be this node's Kubernetes endpoint: forward, filter, mirror, and answer when the line is cut.",
        &flags::AGENT,
    ),
    (
        "check",
        "",
        "Say what is wrong with the flags, files and state folder of an agent, and open nothing.",
        &flags::AGENT,
    ),
    (
        "wait",
        " listening|ready",
        "Wait until the agent's doors are open, or it can answer: the cloud was reached, or something is mirrored.",
        &flags::WAIT,
    ),
    ("version", "", "Print the version.", &[]),
];

/// Runs the command line; `arguments` begin with the program's name. Another process is started by `spawn`.
pub fn main(arguments: Vec<String>, spawn: Spawn) -> ExitCode {
    let arguments: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    let asks = |word: &&str| ["help", "--help", "-h"].contains(word);
    let (name, rest) = match arguments.split_first() {
        Some((name, rest)) => (*name, rest),
        None => return misused("a verb is missing"),
    };
    if asks(&name) {
        return told(&overview());
    }
    let Some(verb) = VERBS.iter().find(|verb| verb.0 == name) else {
        return misused(&format!("there is no verb {name}"));
    };
    if rest.first().is_some_and(asks) || rest.contains(&"--help") {
        return told(&help(verb));
    }
    let (said, words) = match flags::read(verb.3, rest) {
        Ok(read) => read,
        Err(why) => return misused(&why),
    };
    let done = match (name, &words[..]) {
        ("wait", [until]) => return wait(until, &said),
        ("wait", _) => return misused("wait for listening or ready"),
        (_, [word, ..]) => return misused(&format!("what is {word}?")),
        ("agent", _) => start::agent(said, &arguments, spawn),
        ("check", _) => start::check(&said).map(|warning| {
            if let Some(warning) = warning {
                complain(&format!("warning: {warning}"));
            }
            0
        }),
        _ => return told(&format!("toono {}\n", env!("CARGO_PKG_VERSION"))),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            if logger::is_elsewhere() {
                log::error!("{error}");
            }
            complain(&error.to_string());
            ExitCode::from(error.code())
        }
    }
}

fn wait(until: &str, said: &Settings) -> ExitCode {
    let path = match until {
        "listening" => "/v1/healthz",
        "ready" => "/v1/readyz",
        _ => return misused("wait for listening or ready"),
    };
    let last = |key, usual| said.all(key).last().map_or(usual, |value| &value.text[..]);
    let Ok(address) = last("admin", Config::ADMIN_LISTEN).parse::<SocketAddr>() else {
        return misused("--admin must be ADDRESS:PORT");
    };
    let Ok(seconds) = last("timeout", "30").parse::<u32>() else {
        return misused("--timeout must be seconds");
    };
    if wait::wait(address, path, Duration::from_secs(seconds.into())) {
        return ExitCode::SUCCESS;
    }
    let late = format!("the agent at {address} is not {until} within {seconds} s");
    complain(&late);
    ExitCode::from(Error::Failed(late).code())
}

fn overview() -> String {
    let mut out =
        "The Kubernetes hub for a small edge node.\n\nUsage: toono VERB; toono VERB --help\n\n"
            .to_owned();
    for (name, _, about, _) in VERBS {
        // Writing to a string does not fail.
        let _ = writeln!(out, "  {name:<10}{about}");
    }
    out
}

fn help((name, word, about, flags): &Verb) -> String {
    let mut out = format!("Usage: toono {name}{word} [--FLAG VALUE]...\n\n{about}\n\n");
    for flag in flags.iter().filter(|flag| !flag.about.is_empty()) {
        let _ = writeln!(out, "  --{:<18}{}", flag.name, flag.about);
    }
    out
}

fn misused(what: &str) -> ExitCode {
    complain(&format!("{what}; see toono --help"));
    ExitCode::from(exit::USAGE)
}

// Nobody is there to be told when the other end is gone.

fn told(what: &str) -> ExitCode {
    let _ = std::io::stdout().write_all(what.as_bytes());
    ExitCode::SUCCESS
}

fn complain(what: &str) {
    let _ = std::io::stderr().write_all(format!("toono: {what}\n").as_bytes());
}
