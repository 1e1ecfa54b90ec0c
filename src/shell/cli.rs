//! The command line: verbs, flags, exit codes.

use std::io::Write;
use std::process::ExitCode;

use argh::FromArgs;

use crate::shell::app;
use crate::shell::app::App;
use crate::shell::config::Config;
use crate::shell::config::Flags;
use crate::shell::logger;

/// Something failed that is nobody's mistake in writing.
const FAILED: u8 = 1;
/// The command line is wrong (`EX_USAGE` of sysexits.h).
const USAGE: u8 = 64;
/// The state folder can't be used (`EX_IOERR`).
const IO: u8 = 74;

/// The Kubernetes hub for a small edge node.
#[derive(FromArgs)]
struct Toono {
    #[argh(subcommand)]
    verb: Verb,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Verb {
    Agent(Box<AgentVerb>),
    Version(VersionVerb),
}

/// Be this node's Kubernetes endpoint: forward, filter, mirror, and answer when the line is cut.
#[derive(FromArgs)]
#[argh(subcommand, name = "agent")]
struct AgentVerb {
    /// the API server, https://HOST[:PORT]
    #[argh(option)]
    server: Option<String>,
    /// PEM file of the authority that signed the API server's certificate
    #[argh(option)]
    ca: Option<String>,
    /// PEM file of the agent's certificate
    #[argh(option)]
    cert: Option<String>,
    /// PEM file of the agent's key
    #[argh(option)]
    key: Option<String>,
    /// file of the agent's bearer token
    #[argh(option)]
    token_file: Option<String>,
    /// this node's name (the host's name)
    #[argh(option)]
    node_name: Option<String>,
    /// where node components ask (127.0.0.1:10261)
    #[argh(option)]
    listen: Option<String>,
    /// where the operator asks (127.0.0.1:10267)
    #[argh(option)]
    admin_listen: Option<String>,
    /// the only folder written (/var/lib/toono)
    #[argh(option)]
    state_dir: Option<String>,
    /// keep objects whose name starts so from clients
    #[argh(option)]
    drop_name_prefix: Option<String>,
    /// seconds that what is not a pod, secret or configmap may wait for its sync to flash (30)
    #[argh(option)]
    sync_window: Option<String>,
    /// megabytes of flash that the mirror may hold (64)
    #[argh(option)]
    flash_cap: Option<String>,
    /// off, error, warn, info or debug (info)
    #[argh(option)]
    log_level: Option<String>,
}

/// Print the version.
#[derive(FromArgs)]
#[argh(subcommand, name = "version")]
struct VersionVerb {}

/// Runs the command line; `arguments` begin with the program's name.
pub fn main(arguments: Vec<String>) -> ExitCode {
    let arguments: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    match Toono::from_args(&["toono"], &arguments) {
        Ok(Toono {
            verb: Verb::Version(VersionVerb {}),
        }) => {
            say(
                &mut std::io::stdout(),
                &format!("toono {}", env!("CARGO_PKG_VERSION")),
            );
            ExitCode::SUCCESS
        }
        Ok(Toono {
            verb: Verb::Agent(verb),
        }) => agent(*verb),
        Err(exit) if exit.status.is_ok() => {
            say(&mut std::io::stdout(), exit.output.trim_end());
            ExitCode::SUCCESS
        }
        Err(exit) => {
            let wrong = exit.output.split_whitespace().collect::<Vec<_>>().join(" ");
            complain(&format!("{wrong}; see toono --help"));
            ExitCode::from(USAGE)
        }
    }
}

fn agent(verb: AgentVerb) -> ExitCode {
    let config = match Config::new(verb.into()) {
        Ok(config) => config,
        Err(complaint) => {
            complain(&complaint.to_string());
            return ExitCode::from(USAGE);
        }
    };
    logger::start(config.log_level);
    match App::build(&config).and_then(App::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(match error {
                app::Error::Usage(_) => USAGE,
                app::Error::State(_) => IO,
                app::Error::Door(_) => FAILED,
            })
        }
    }
}

impl From<AgentVerb> for Flags {
    fn from(verb: AgentVerb) -> Self {
        Self {
            server: verb.server,
            ca: verb.ca,
            cert: verb.cert,
            key: verb.key,
            token_file: verb.token_file,
            node_name: verb.node_name,
            listen: verb.listen,
            admin_listen: verb.admin_listen,
            state_dir: verb.state_dir,
            drop_name_prefix: verb.drop_name_prefix,
            sync_window: verb.sync_window,
            flash_cap: verb.flash_cap,
            log_level: verb.log_level,
        }
    }
}

fn complain(what: &str) {
    say(&mut std::io::stderr(), &format!("toono: {what}"));
}

fn say(to: &mut dyn Write, what: &str) {
    // Nobody is there to be told when the other end is gone.
    let _ = writeln!(to, "{what}");
}
