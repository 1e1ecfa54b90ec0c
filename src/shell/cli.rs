//! The command line: what is done for each verb, and exit codes.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use crate::io::supervise::Spawn;
use crate::shell::config::Config;
use crate::shell::exit;
use crate::shell::exit::Error;
use crate::shell::flags;
use crate::shell::flags::Asked;
use crate::shell::logger;
use crate::shell::start;
use crate::shell::wait;

/// Runs the command line; `arguments` begin with the program's name. Another process is started by `spawn`.
pub fn main(arguments: Vec<String>, spawn: Spawn) -> ExitCode {
    let arguments: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    let asked = match flags::read(&arguments) {
        Ok(asked) => asked,
        Err(why) => return misused(&why),
    };
    let done = match asked {
        Asked::Agent(said) => start::agent(said, &arguments, spawn),
        Asked::Check(said) => start::check(&said).map(|warning| {
            if let Some(warning) = warning {
                complain(&format!("warning: {warning}"));
            }
            0
        }),
        Asked::Wait {
            until,
            admin,
            timeout,
        } => return wait(&until, admin.as_deref(), timeout.as_deref()),
        Asked::Version => return told(&format!("toono {}\n", env!("CARGO_PKG_VERSION"))),
        Asked::Help(text) => return told(&text),
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

fn wait(until: &str, admin: Option<&str>, timeout: Option<&str>) -> ExitCode {
    let path = match until {
        "listening" => "/v1/healthz",
        "ready" => "/v1/readyz",
        _ => return misused("wait for listening or ready"),
    };
    let Ok(address) = admin.unwrap_or(Config::ADMIN_LISTEN).parse::<SocketAddr>() else {
        return misused("--admin must be ADDRESS:PORT");
    };
    let Ok(seconds) = timeout.unwrap_or("30").parse::<u32>() else {
        return misused("--timeout must be seconds");
    };
    if wait::wait(address, path, Duration::from_secs(seconds.into())) {
        return ExitCode::SUCCESS;
    }
    let late = format!("the agent at {address} is not {until} within {seconds} s");
    complain(&late);
    ExitCode::from(Error::Failed(late).code())
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
