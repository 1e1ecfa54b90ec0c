//! The command line: verbs, flags, exit codes.

use std::io::Write;
use std::process::ExitCode;

use argh::FromArgs;

use crate::shell::app;
use crate::shell::app::App;
use crate::shell::config;
use crate::shell::config::Config;
use crate::shell::logger;
use crate::shell::settings::Settings;

/// Something failed that is nobody's mistake in writing.
const FAILED: u8 = 1;
/// The command line is wrong (`EX_USAGE` of sysexits.h).
const USAGE: u8 = 64;
/// The configuration is wrong (`EX_CONFIG`).
const CONFIG: u8 = 78;
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
    /// a TOML file of these settings, flags win (/etc/toono/toono.toml if it is there)
    #[argh(option)]
    config: Option<String>,
    /// a kubeconfig: its current context says server, trust and identity
    #[argh(option)]
    kubeconfig: Option<String>,
    /// an API server, https://HOST[:PORT]; several times for several
    #[argh(option)]
    server: Vec<String>,
    /// which of several: round-robin or priority (round-robin)
    #[argh(option)]
    lb_mode: Option<String>,
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
    /// file of the 32 bytes that seal secrets and tokens (seal.key in the state folder)
    #[argh(option)]
    seal_key: Option<String>,
    /// keep objects whose name starts so from clients
    #[argh(option)]
    drop_name_prefix: Option<String>,
    /// seconds that what is not a pod, secret or configmap may wait for its sync to flash (30)
    #[argh(option)]
    sync_window: Option<String>,
    /// megabytes of flash that the mirror may hold (64)
    #[argh(option)]
    flash_cap: Option<String>,
    /// seconds that a mirrored collection which nobody reads keeps its upstream watch (900)
    #[argh(option)]
    linger: Option<String>,
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
    let said = verb.said();
    let config = match Config::load(said.clone()) {
        Ok(config) => config,
        Err(complaint) => {
            complain(&complaint.to_string());
            return ExitCode::from(CONFIG);
        }
    };
    logger::start(config.log_level);
    match App::build(&config, said).and_then(App::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(match error {
                app::Error::Config(_) => CONFIG,
                app::Error::State(_) => IO,
                app::Error::Door(_) => FAILED,
            })
        }
    }
}

impl AgentVerb {
    /// What was said, by key.
    fn said(self) -> Settings {
        let mut said = Settings::default();
        for (key, text) in [
            (config::FILE_FLAG, self.config),
            ("kubeconfig", self.kubeconfig),
            ("lb-mode", self.lb_mode),
            ("ca", self.ca),
            ("cert", self.cert),
            ("key", self.key),
            ("token-file", self.token_file),
            ("node-name", self.node_name),
            ("listen", self.listen),
            ("admin-listen", self.admin_listen),
            ("state-dir", self.state_dir),
            ("seal-key", self.seal_key),
            ("drop-name-prefix", self.drop_name_prefix),
            ("sync-window", self.sync_window),
            ("flash-cap", self.flash_cap),
            ("linger", self.linger),
            ("log-level", self.log_level),
        ] {
            if let Some(text) = text {
                said.flag(key, text);
            }
        }
        for text in self.server {
            said.flag("server", text);
        }
        said
    }
}

fn complain(what: &str) {
    say(&mut std::io::stderr(), &format!("toono: {what}"));
}

fn say(to: &mut dyn Write, what: &str) {
    // Nobody is there to be told when the other end is gone.
    let _ = writeln!(to, "{what}");
}
