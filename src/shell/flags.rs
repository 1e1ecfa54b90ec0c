//! The command line, read: verbs and their flags, in one table each, which is the configuration file's as well.

use argh::CommandInfo;
use argh::DynamicSubCommand;
use argh::EarlyExit;
use argh::FromArgs;

use crate::shell::settings::Settings;

/// The flag that names the configuration file.
pub const FILE: &str = "config";
/// The flag by which a parent tells the agent that it has started it; its value is the parent's number.
pub const SUPERVISED: &str = "supervised";

/// Declares the flags of an agent once: the fields that are parsed, the keys that they are, and what was said by key.
macro_rules! agent_flags {
    ($($field:ident $key:tt $about:tt)* ; $($switch:ident $switch_key:tt $switch_about:tt)*) => {
        /// The settings are keys of the configuration file too (/etc/toono/toono.toml); flags win.
        #[derive(FromArgs)]
        struct AgentFlags {
            #[argh(option, description = "a TOML file of these settings (/etc/toono/toono.toml if it is there)")]
            config: Vec<String>,
            $(#[argh(option, long = $key, description = $about)]
            $field: Vec<String>,)*
            $(#[argh(switch, long = $switch_key, description = $switch_about)]
            $switch: bool,)*
            #[argh(option, hidden_help, description = "the parent that has started this process")]
            supervised: Vec<String>,
        }

        /// The keys of the configuration file: all flags but the one that names it, and the one that is not the user's.
        pub const KEYS: &[&str] = &[$($key,)* $($switch_key,)*];

        impl AgentFlags {
            fn said(self) -> Settings {
                let mut said = Settings::default();
                let mut say = |key, texts: Vec<String>| {
                    for text in texts {
                        said.flag(key, text);
                    }
                };
                say(FILE, self.config);
                $(say($key, self.$field);)*
                $(say($switch_key, self.$switch.then(|| "true".to_owned()).into_iter().collect());)*
                say(SUPERVISED, self.supervised);
                said
            }
        }
    };
}

agent_flags! {
    kubeconfig "kubeconfig" "a kubeconfig: its current context says server, trust and identity"
    server "server" "an API server, https://HOST[:PORT]; several times for several"
    lb_mode "lb-mode" "which of several: round-robin or priority (round-robin)"
    ca "ca" "PEM file of the authority that signed the API server's certificate"
    cert "cert" "PEM file of the agent's certificate"
    key "key" "PEM file of the agent's key"
    token_file "token-file" "file of the agent's bearer token"
    node_name "node-name" "this node's name (the host's name)"
    listen "listen" "where node components ask (127.0.0.1:10261)"
    admin_listen "admin-listen" "where the operator asks (127.0.0.1:10267)"
    state_dir "state-dir" "the only folder written (/var/lib/toono)"
    seal_key "seal-key" "file of the 32 bytes that seal secrets and tokens (seal.key in the state folder)"
    drop_name_prefix "drop-name-prefix" "keep objects whose name starts so from clients"
    sync_window "sync-window" "seconds that what is not a pod, secret or configmap may wait for its sync to flash (30)"
    flash_cap "flash-cap" "megabytes of flash that the mirror may hold (64)"
    linger "linger" "seconds that a mirrored collection which nobody reads keeps its upstream watch (900)"
    log_level "log-level" "off, error, warn, info or debug (info)"
    log_to "log-to" "stderr, syslog, or syslog:/PATH of its socket (stderr)"
    user "user" "whom to become when started as root: NAME[:GROUP] or UID[:GID]"
    ready_fd "ready-fd" "number of a descriptor that gets a newline once the doors are open"
    ;
    strict_state "strict-state" "refuse a state folder that a reboot empties (tmpfs, ramfs, an overlay over one)"
    supervise "supervise" "be a small parent that starts the agent again whenever it ends"
}

/// The Kubernetes hub for a small edge node.
#[derive(FromArgs)]
struct Toono {
    #[argh(subcommand)]
    verb: Verb,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Verb {
    Wait(WaitVerb),
    Version(VersionVerb),
    #[argh(dynamic)]
    Agent(Box<AgentVerb>),
}

/// `toono agent` and `toono check`, which have the same flags.
struct AgentVerb {
    check: bool,
    flags: AgentFlags,
}

const AGENT: CommandInfo = CommandInfo {
    name: "agent",
    short: &'\0',
    description: "Be this node's Kubernetes endpoint: forward, filter, mirror, and answer when the line is cut.",
};
const CHECK: CommandInfo = CommandInfo {
    name: "check",
    short: &'\0',
    description: "Say what is wrong with the flags, files and state folder of an agent, and open nothing.",
};

impl DynamicSubCommand for Box<AgentVerb> {
    fn commands() -> &'static [&'static CommandInfo] {
        &[&AGENT, &CHECK]
    }

    fn try_redact_arg_values(_: &[&str], _: &[&str]) -> Option<Result<Vec<String>, EarlyExit>> {
        None
    }

    fn try_from_args(names: &[&str], arguments: &[&str]) -> Option<Result<Self, EarlyExit>> {
        let name = *names.last()?;
        let check = name == CHECK.name;
        (check || name == AGENT.name).then(|| {
            let flags = AgentFlags::from_args(names, arguments)?;
            Ok(Box::new(AgentVerb { check, flags }))
        })
    }
}

/// Wait until the agent's doors are open (listening), or it can answer (ready): the cloud was reached, or something is
/// mirrored.
#[derive(FromArgs)]
#[argh(subcommand, name = "wait")]
struct WaitVerb {
    /// listening or ready
    #[argh(positional)]
    until: String,
    /// where the operator asks the agent (127.0.0.1:10267)
    #[argh(option)]
    admin: Option<String>,
    /// seconds (30)
    #[argh(option)]
    timeout: Option<String>,
}

/// Print the version.
#[derive(FromArgs)]
#[argh(subcommand, name = "version")]
struct VersionVerb {}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// An agent that was told this.
    Agent(Settings),
    /// Whether an agent could be.
    Check(Settings),
    /// To wait for an agent.
    Wait {
        /// `listening` or `ready`, if it is right.
        until: String,
        /// Where the operator asks it, if that was said.
        admin: Option<String>,
        /// How many seconds, if that was said.
        timeout: Option<String>,
    },
    /// Its version.
    Version,
    /// This help.
    Help(String),
}

/// Reads the command line, without the program's name; an error says in one line what is wrong.
pub fn read(arguments: &[&str]) -> Result<Asked, String> {
    // argh has no `--flag=value`.
    let mut words = Vec::with_capacity(arguments.len());
    for argument in arguments {
        match argument.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => words.extend([flag, value]),
            _ => words.push(argument),
        }
    }
    match Toono::from_args(&["toono"], &words) {
        Ok(Toono { verb }) => Ok(match verb {
            Verb::Agent(verb) if verb.check => Asked::Check(verb.flags.said()),
            Verb::Agent(verb) => Asked::Agent(verb.flags.said()),
            Verb::Wait(verb) => Asked::Wait {
                until: verb.until,
                admin: verb.admin,
                timeout: verb.timeout,
            },
            Verb::Version(VersionVerb {}) => Asked::Version,
        }),
        Err(exit) if exit.status.is_ok() => Ok(Asked::Help(exit.output)),
        Err(exit) => Err(exit.output.split_whitespace().collect::<Vec<_>>().join(" ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_with_their_values_behind_them_or_in_them() {
        let arguments = [
            "agent",
            "--server",
            "https://a",
            "--server=https://b=c",
            "--supervise",
            "--listen",
            "--key",
            "--lb-mode=priority",
        ];
        let Ok(Asked::Agent(said)) = read(&arguments) else {
            panic!("an agent");
        };
        let texts = |key| -> Vec<&str> {
            let values = said.all(key).iter();
            values.map(|value| value.text.as_str()).collect()
        };
        assert_eq!(texts("server"), ["https://a", "https://b=c"]);
        assert_eq!(texts("supervise"), ["true"]);
        assert_eq!(texts("listen"), ["--key"]);
        assert_eq!(texts("lb-mode"), ["priority"]);
        assert!(texts("strict-state").is_empty() && texts(SUPERVISED).is_empty());
    }

    #[test]
    fn verbs_are_told_apart_and_what_is_wrong_is_named() {
        assert!(matches!(read(&["check", "--ca", "x"]), Ok(Asked::Check(_))));
        assert_eq!(read(&["version"]), Ok(Asked::Version));
        let asked = Asked::Wait {
            until: "ready".to_owned(),
            admin: None,
            timeout: Some("5".to_owned()),
        };
        assert_eq!(read(&["wait", "ready", "--timeout", "5"]), Ok(asked));
        for (arguments, named) in [
            (&["agent", "--servers", "x"][..], "--servers"),
            (&["agent", "word"], "word"),
            (&["agent", "--server"], "--server"),
            (&["check", "--timeout=1"], "--timeout"),
            (&["wait"], "until"),
            (&["nothing"], "nothing"),
            (&[], "subcommand"),
        ] {
            let why = read(arguments).expect_err("wrong");
            assert!(why.contains(named) && !why.contains('\n'), "{why}");
        }
    }

    #[test]
    fn help_names_every_flag_of_the_user_and_every_verb() {
        let help = |arguments: &[&str]| match read(arguments) {
            Ok(Asked::Help(text)) => text,
            other => panic!("{other:?}"),
        };
        let of_agent = help(&["agent", "--help"]);
        assert!(
            KEYS.iter()
                .all(|key| of_agent.contains(&format!("--{key}")))
        );
        assert!(!of_agent.contains(SUPERVISED));
        assert_eq!(
            of_agent,
            help(&["check", "--help"]).replace("toono check", "toono agent")
        );
        let of_all = help(&["--help"]);
        for verb in ["agent", "check", "wait", "version"] {
            assert!(of_all.contains(&format!("  {verb} ")), "{of_all}");
        }
    }
}
