//! Flags: one table, which is the command line's, its help's and the configuration file's.

use crate::shell::settings::Settings;

/// A flag.
#[derive(Debug)]
pub struct Flag {
    /// Its name, without the dashes; in the configuration file the key.
    pub name: &'static str,
    /// What help says of it; nothing for one that is not the user's.
    pub about: &'static str,
    /// Whether it is `true` by being said, and no value follows.
    pub switch: bool,
}

const fn value(name: &'static str, about: &'static str) -> Flag {
    Flag {
        name,
        about,
        switch: false,
    }
}

const fn switch(name: &'static str, about: &'static str) -> Flag {
    Flag {
        name,
        about,
        switch: true,
    }
}

/// The flag that names the configuration file.
pub const FILE: &str = "config";
/// The flag by which a parent tells the agent that it has started it.
pub const SUPERVISED: &str = "supervised";

/// The flags of `toono agent` and `toono check`; all but the two above are keys of the configuration file.
pub const AGENT: [Flag; 24] = [
    value(
        FILE,
        "a TOML file of these settings, flags win (/etc/toono/toono.toml if it is there)",
    ),
    value(
        "kubeconfig",
        "a kubeconfig: its current context says server, trust and identity",
    ),
    value(
        "server",
        "an API server, https://HOST[:PORT]; several times for several",
    ),
    value(
        "lb-mode",
        "which of several: round-robin or priority (round-robin)",
    ),
    value(
        "ca",
        "PEM file of the authority that signed the API server's certificate",
    ),
    value("cert", "PEM file of the agent's certificate"),
    value("key", "PEM file of the agent's key"),
    value("token-file", "file of the agent's bearer token"),
    value("node-name", "this node's name (the host's name)"),
    value("listen", "where node components ask (127.0.0.1:10261)"),
    value("admin-listen", "where the operator asks (127.0.0.1:10267)"),
    value("state-dir", "the only folder written (/var/lib/toono)"),
    switch(
        "strict-state",
        "refuse a state folder that a reboot empties (tmpfs, ramfs, an overlay over one)",
    ),
    value(
        "seal-key",
        "file of the 32 bytes that seal secrets and tokens (seal.key in the state folder)",
    ),
    value(
        "drop-name-prefix",
        "keep objects whose name starts so from clients",
    ),
    value(
        "sync-window",
        "seconds that what is not a pod, secret or configmap may wait for its sync to flash (30)",
    ),
    value(
        "flash-cap",
        "megabytes of flash that the mirror may hold (64)",
    ),
    value(
        "linger",
        "seconds that a mirrored collection which nobody reads keeps its upstream watch (900)",
    ),
    value("log-level", "off, error, warn, info or debug (info)"),
    value(
        "log-to",
        "stderr, syslog, or syslog:/PATH of its socket (stderr)",
    ),
    value(
        "user",
        "whom to become when started as root: NAME[:GROUP] or UID[:GID]",
    ),
    switch(
        "supervise",
        "be a small parent that starts the agent again whenever it ends",
    ),
    value(
        "ready-fd",
        "number of a descriptor that gets a newline once the doors are open",
    ),
    value(SUPERVISED, ""),
];

/// The flags of `toono wait`.
pub const WAIT: [Flag; 2] = [
    value(
        "admin",
        "where the operator asks the agent (127.0.0.1:10267)",
    ),
    value("timeout", "seconds (30)"),
];

/// The keys of the configuration file.
pub fn keys() -> Vec<&'static str> {
    let names = AGENT.iter().map(|flag| flag.name);
    names
        .filter(|name| ![FILE, SUPERVISED].contains(name))
        .collect()
}

/// What `arguments` say, and the words among them that are no flags; an error says what is wrong.
pub fn read<'a>(flags: &[Flag], arguments: &[&'a str]) -> Result<(Settings, Vec<&'a str>), String> {
    let (mut said, mut words) = (Settings::default(), Vec::new());
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let Some(name) = argument.strip_prefix("--") else {
            words.push(*argument);
            continue;
        };
        let (name, mut value) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (name, None),
        };
        let Some(flag) = flags.iter().find(|flag| flag.name == name) else {
            return Err(format!("there is no flag {argument}"));
        };
        if flag.switch {
            value = value.or(Some("true"));
        }
        let Some(value) = value.or_else(|| rest.next().copied()) else {
            return Err(format!("{argument} needs a value"));
        };
        said.flag(flag.name, value);
    }
    Ok((said, words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_with_their_values_behind_them_or_in_them() {
        let arguments = [
            "--server",
            "https://a",
            "word",
            "--server=https://b=c",
            "--supervise",
            "--listen",
            "--key",
            "--strict-state=false",
        ];
        let (said, words) = read(&AGENT, &arguments).expect("right");
        let texts = |key| -> Vec<&str> {
            let values = said.all(key).iter();
            values.map(|value| value.text.as_str()).collect()
        };
        assert_eq!(texts("server"), ["https://a", "https://b=c"]);
        assert_eq!(texts("supervise"), ["true"]);
        assert_eq!(texts("listen"), ["--key"]);
        assert_eq!(texts("strict-state"), ["false"]);
        assert_eq!(words, ["word"]);
    }

    #[test]
    fn a_flag_that_is_none_or_lacks_its_value_is_named() {
        for (argument, why) in [
            ("--servers", "there is no flag --servers"),
            ("--", "there is no flag --"),
            ("--timeout=1", "there is no flag --timeout=1"),
            ("--server", "--server needs a value"),
        ] {
            assert_eq!(read(&AGENT, &[argument]).expect_err(argument), why);
        }
    }

    #[test]
    fn the_users_flags_are_keys_of_the_file() {
        let keys = keys();
        assert_eq!(keys.len(), AGENT.len() - 2);
        assert!(!keys.contains(&FILE) && !keys.contains(&SUPERVISED));
    }
}
