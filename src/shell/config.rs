//! What was said becomes what is meant, once; a wrong value is refused by name.

use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use crate::io::account;
use crate::io::account::Account;
use crate::io::syslog;
use crate::io::tls;
use crate::io::tls::Pem;
use crate::io::tls::ServerName;
use crate::shell::flags;
use crate::shell::kubeconfig::Kubeconfig;
use crate::shell::settings::Complaint;
use crate::shell::settings::Origin;
use crate::shell::settings::Settings;
use crate::shell::settings::Value;
use crate::state::upstream::Address;
use crate::state::upstream::Balance;
use crate::state::upstream::Token;

/// Where the configuration file is when nothing is said.
const FILE: &str = "/etc/toono/toono.toml";

/// What `toono agent` is to do.
#[derive(Clone, Debug)]
pub struct Config {
    /// The API servers.
    pub servers: Vec<Address>,
    /// Which of them is used.
    pub balance: Balance,
    /// Whom to trust, and the agent's certificate.
    pub files: tls::Files,
    /// The agent's bearer token.
    pub token: Option<Token>,
    /// The node's name.
    pub node_name: String,
    /// Where node components ask.
    pub listen: SocketAddr,
    /// Where the operator asks.
    pub admin_listen: SocketAddr,
    /// The only folder written.
    pub state_dir: PathBuf,
    /// The file of the key that seals secrets and tokens; none for one in the state folder.
    pub seal_key: Option<PathBuf>,
    /// Objects whose name starts so are kept from clients.
    pub drop_name_prefix: Option<String>,
    /// How long what is not a pod, a secret or a configmap may wait for its sync to flash.
    pub sync_window: Duration,
    /// How many bytes the mirror may hold on flash.
    pub flash_cap: u64,
    /// How long a mirrored collection that nobody reads keeps its upstream watch.
    pub linger: Duration,
    /// What is logged.
    pub log_level: log::LevelFilter,
    /// The socket of the syslog that is logged to; none for standard error.
    pub log_to: Option<PathBuf>,
    /// Whom to become.
    pub user: Option<Account>,
    /// Whether the process is a parent that starts the agent for ever.
    pub supervise: bool,
    /// A descriptor that gets a newline once the doors are open.
    pub ready_fd: Option<i32>,
    /// The parent that has started this process.
    pub supervisor: Option<i32>,
    /// Whether a state folder that a reboot empties is refused.
    pub strict_state: bool,
}

impl Config {
    /// Where node components ask when nothing else is said: YurtHub's port, so that kubeconfigs stay.
    pub const LISTEN: &'static str = "127.0.0.1:10261";
    /// Where the operator asks when nothing else is said.
    pub const ADMIN_LISTEN: &'static str = "127.0.0.1:10267";
    /// The only folder written when nothing else is said.
    pub const STATE_DIR: &'static str = "/var/lib/toono";
    /// How long the less urgent classes of data wait for their sync when nothing else is said.
    pub const SYNC_WINDOW: Duration = Duration::from_secs(30);
    /// How many bytes the mirror may hold on flash when nothing else is said.
    pub const FLASH_CAP: u64 = 64 << 20;

    /// How long an unread collection keeps its upstream watch when nothing else is said: longer than the 5 to 10 minutes
    /// after which clients open theirs again.
    pub const LINGER: Duration = Duration::from_secs(900);

    /// Reads the flags, the configuration file (the one that `--config` names, or the usual one if it is there), and the
    /// kubeconfig if one is named.
    pub fn load(mut flags: Settings) -> Result<Self, Complaint> {
        match flags.one(flags::FILE)?.map(|value| value.text.clone()) {
            Some(path) => flags.read(Path::new(&path), flags::KEYS)?,
            None if Path::new(FILE).exists() => flags.read(Path::new(FILE), flags::KEYS)?,
            None => {}
        }
        Self::new(&flags)
    }

    /// Reads what was said.
    pub fn new(said: &Settings) -> Result<Self, Complaint> {
        let kubeconfig = said
            .one("kubeconfig")?
            .map(|value| Kubeconfig::read(&file(value)?))
            .transpose()?;
        Ok(Self {
            servers: servers(said, kubeconfig.as_ref())?,
            balance: said
                .one("lb-mode")?
                .map_or(Ok(Balance::default()), balance)?,
            files: files(said, kubeconfig.as_ref())?,
            token: match said.one("token-file")? {
                Some(value) => Some(Token::File(file(value)?)),
                None => kubeconfig.and_then(|kubeconfig| kubeconfig.token),
            },
            node_name: node_name(said.one("node-name")?)?,
            listen: address(said, "listen", Self::LISTEN)?,
            admin_listen: address(said, "admin-listen", Self::ADMIN_LISTEN)?,
            state_dir: said
                .one("state-dir")?
                .map_or(Ok(Self::STATE_DIR.into()), folder)?,
            seal_key: said
                .one("seal-key")?
                .map(|value| PathBuf::from(&value.text)),
            drop_name_prefix: said.one("drop-name-prefix")?.map(name_prefix).transpose()?,
            sync_window: said
                .one("sync-window")?
                .map_or(Ok(Self::SYNC_WINDOW), seconds)?,
            flash_cap: said
                .one("flash-cap")?
                .map_or(Ok(Self::FLASH_CAP), megabytes)?,
            linger: said.one("linger")?.map_or(Ok(Self::LINGER), seconds)?,
            log_level: said
                .one("log-level")?
                .map_or(Ok(log::LevelFilter::Info), level)?,
            log_to: said.one("log-to")?.map_or(Ok(None), log_to)?,
            user: said.one("user")?.map(user).transpose()?,
            supervise: said.one("supervise")?.map_or(Ok(false), truth)?,
            ready_fd: said.one("ready-fd")?.map(number).transpose()?,
            supervisor: said.one(flags::SUPERVISED)?.map(number).transpose()?,
            strict_state: said.one("strict-state")?.map_or(Ok(false), truth)?,
        })
    }
}

/// The servers that were named, else the kubeconfig's.
fn servers(said: &Settings, kubeconfig: Option<&Kubeconfig>) -> Result<Vec<Address>, Complaint> {
    let named = said.all("server");
    let tls_name = kubeconfig.and_then(|kubeconfig| kubeconfig.tls_name.clone());
    if named.is_empty() {
        let Some(kubeconfig) = kubeconfig else {
            return Err(Complaint::missing("server", SERVER));
        };
        let value = Value {
            key: "server",
            text: kubeconfig.server.clone(),
            origin: Origin::Other("the kubeconfig"),
        };
        let address = server(&value)?;
        return Ok(vec![Address {
            tls_name,
            ..address
        }]);
    }
    let mut servers: Vec<Address> = Vec::new();
    for value in named {
        let address = Address {
            tls_name: tls_name.clone(),
            ..server(value)?
        };
        if servers.contains(&address) {
            return Err(value.wrong("was said before"));
        }
        servers.push(address);
    }
    Ok(servers)
}

/// The files that were named, else what the kubeconfig says.
fn files(said: &Settings, kubeconfig: Option<&Kubeconfig>) -> Result<tls::Files, Complaint> {
    let pem = |key| {
        let value = said.one(key)?;
        value.map(|value| file(value).map(Pem::File)).transpose()
    };
    let ca = match (pem("ca")?, kubeconfig) {
        (Some(ca), _) => ca,
        (None, Some(kubeconfig)) => kubeconfig.ca.clone(),
        (None, None) => {
            return Err(Complaint::missing(
                "ca",
                "the PEM file of the authority that signed the API server's certificate",
            ));
        }
    };
    let identity = match (pem("cert")?, pem("key")?) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => kubeconfig.and_then(|kubeconfig| kubeconfig.identity.clone()),
        (Some(_), None) => {
            return Err(Complaint::missing(
                "key",
                "--cert needs the key that belongs to it",
            ));
        }
        (None, Some(_)) => {
            return Err(Complaint::missing(
                "cert",
                "--key needs the certificate that belongs to it",
            ));
        }
    };
    Ok(tls::Files { ca, identity })
}

const SERVER: &str = "must be https://HOST[:PORT] of the API server, e.g. https://192.0.2.10:6443";

fn server(value: &Value) -> Result<Address, Complaint> {
    let wrong = || value.wrong(SERVER);
    let authority = value
        .text
        .strip_prefix("https://")
        .ok_or_else(wrong)?
        .trim_end_matches('/');
    if authority.contains(['/', '?', '#', '@', ' ']) {
        return Err(wrong());
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or_else(wrong)?;
            (
                host,
                rest.strip_prefix(':')
                    .or(rest.is_empty().then_some("443"))
                    .ok_or_else(wrong)?,
            )
        }
        None => authority.split_once(':').unwrap_or((authority, "443")),
    };
    let port = port
        .parse()
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(wrong)?;
    if ServerName::try_from(host).is_err() {
        return Err(wrong());
    }
    Ok(Address {
        host: host.to_owned(),
        port,
        tls_name: None,
    })
}

fn balance(value: &Value) -> Result<Balance, Complaint> {
    match value.text.as_str() {
        "round-robin" => Ok(Balance::RoundRobin),
        "priority" => Ok(Balance::Priority),
        _ => Err(value.wrong("must be round-robin or priority")),
    }
}

/// The node's name as given, else the host's, as kubelet has it.
fn node_name(given: Option<&Value>) -> Result<String, Complaint> {
    let value = given.cloned().unwrap_or_else(|| {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Value {
            key: "node-name",
            text: host.trim().to_ascii_lowercase(),
            origin: Origin::Other("the host"),
        }
    });
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    let bytes = value.text.as_bytes();
    if bytes.len() > 253
        || !bytes.iter().all(|b| letter(*b))
        || !edge(bytes.first())
        || !edge(bytes.last())
    {
        return Err(value
            .wrong("must be a node name: lower case letters, digits, '-' and '.', at most 253"));
    }
    Ok(value.text)
}

fn address(said: &Settings, key: &'static str, usual: &str) -> Result<SocketAddr, Complaint> {
    const ALLOWED: &str = "must be ADDRESS:PORT, e.g. 127.0.0.1:10261";
    match said.one(key)? {
        Some(value) => value.text.parse().map_err(|_| value.wrong(ALLOWED)),
        None => usual.parse().map_err(|_| Complaint::missing(key, ALLOWED)),
    }
}

fn file(value: &Value) -> Result<PathBuf, Complaint> {
    let path = PathBuf::from(&value.text);
    let unreadable =
        |error: &std::io::Error| value.wrong(format!("must be a file that can be read: {error}"));
    match std::fs::metadata(&path) {
        // Of what is no plain file, a pipe say, the first reading may be the only one.
        Ok(meta) if meta.is_file() => match std::fs::File::open(&path) {
            Ok(_) => Ok(path),
            Err(error) => Err(unreadable(&error)),
        },
        Ok(meta) if !meta.is_dir() => Ok(path),
        Ok(_) => Err(value.wrong("must be a file, this is a folder")),
        Err(error) => Err(unreadable(&error)),
    }
}

fn folder(value: &Value) -> Result<PathBuf, Complaint> {
    let path = PathBuf::from(&value.text);
    if !path.is_absolute() {
        return Err(value.wrong("must be the absolute path of a folder"));
    }
    Ok(path)
}

fn name_prefix(value: &Value) -> Result<String, Complaint> {
    let letter =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.' || b == b':';
    if value.text.is_empty() || !value.text.bytes().all(letter) {
        return Err(value.wrong(
            "must be the start of an object's name: lower case letters, digits, '-', '.' and ':'",
        ));
    }
    Ok(value.text.clone())
}

fn seconds(value: &Value) -> Result<Duration, Complaint> {
    let seconds = value.text.parse().ok().filter(|seconds| *seconds <= 3600);
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| value.wrong("must be seconds, 0 to 3600"))
}

fn megabytes(value: &Value) -> Result<u64, Complaint> {
    let megabytes = value.text.parse::<u64>().ok();
    megabytes
        .filter(|megabytes| (1..=1 << 20).contains(megabytes))
        .map(|megabytes| megabytes << 20)
        .ok_or_else(|| value.wrong("must be megabytes, 1 to 1048576"))
}

fn level(value: &Value) -> Result<log::LevelFilter, Complaint> {
    let level = value.text.parse();
    level.map_err(|_| value.wrong("must be off, error, warn, info or debug"))
}

fn log_to(value: &Value) -> Result<Option<PathBuf>, Complaint> {
    match value.text.as_str() {
        "stderr" => Ok(None),
        "syslog" => Ok(Some(syslog::SOCKET.into())),
        text => match text.strip_prefix("syslog:") {
            Some(path) if path.starts_with('/') => Ok(Some(path.into())),
            _ => Err(value.wrong("must be stderr, syslog, or syslog:/PATH of its socket")),
        },
    }
}

fn user(value: &Value) -> Result<Account, Complaint> {
    account::find(&value.text).map_err(|why| value.wrong(why))
}

fn truth(value: &Value) -> Result<bool, Complaint> {
    let truth = value.text.parse();
    truth.map_err(|_| value.wrong("must be true or false"))
}

fn number(value: &Value) -> Result<i32, Complaint> {
    let number = value.text.parse().ok().filter(|number| *number >= 0);
    number.ok_or_else(|| value.wrong("must be a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Right flags, of which some are said otherwise; an empty text is not said.
    fn flags(other: &[(&'static str, &str)]) -> Settings {
        let usual = [
            ("server", "https://127.0.0.1:6443"),
            ("ca", "Cargo.toml"),
            ("node-name", "edge-00"),
        ];
        let mut settings = Settings::default();
        let kept = |key: &str| !other.iter().any(|(changed, _)| *changed == key);
        for (key, text) in usual.iter().filter(|(key, _)| kept(key)).chain(other) {
            if *text != "-" {
                settings.flag(key, *text);
            }
        }
        settings
    }

    fn address(host: &str, port: u16) -> Address {
        Address {
            host: host.into(),
            port,
            tls_name: None,
        }
    }

    #[test]
    fn what_is_not_said_has_yurthubs_ports_and_one_folder() {
        let config = Config::new(&flags(&[])).expect("right flags");
        assert_eq!(config.servers, [address("127.0.0.1", 6443)]);
        assert_eq!(config.balance, Balance::RoundRobin);
        assert_eq!(config.listen.to_string(), "127.0.0.1:10261");
        assert_eq!(config.admin_listen.to_string(), "127.0.0.1:10267");
        assert_eq!(config.state_dir, PathBuf::from("/var/lib/toono"));
        assert_eq!(config.flash_cap, 64 << 20);
        assert!(
            config.files.identity.is_none()
                && config.token.is_none()
                && config.drop_name_prefix.is_none()
        );
    }

    #[test]
    fn servers_are_names_and_addresses_with_or_without_a_port() {
        for (text, host, port) in [
            ("https://api.example.com", "api.example.com", 443),
            ("https://api.example.com:6443/", "api.example.com", 6443),
            ("https://[2001:db8::1]:6443", "2001:db8::1", 6443),
            ("https://[2001:db8::1]", "2001:db8::1", 443),
        ] {
            let config = Config::new(&flags(&[("server", text)])).expect(text);
            assert_eq!(config.servers, [address(host, port)], "{text}");
        }
        let two = [
            ("server", "https://a"),
            ("server", "https://b:1"),
            ("lb-mode", "priority"),
        ];
        let config = Config::new(&flags(&two)).expect("two servers");
        assert_eq!(config.servers, [address("a", 443), address("b", 1)]);
        assert_eq!(config.balance, Balance::Priority);
    }

    #[test]
    fn a_kubeconfig_says_what_flags_do_not() {
        let folder = std::env::temp_dir().join(format!("toono-config-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let path = folder.join("kubeconfig");
        let text = "current-context: a\ncontexts: [{name: a, context: {cluster: c, user: u}}]\n\
                    clusters: [{name: c, cluster: {server: 'https://k:6443', certificate-authority: ca.crt}}]\n\
                    users: [{name: u, user: {token: T}}]\n";
        std::fs::write(&path, text).expect("a file");
        let path = path.display().to_string();
        let config = Config::new(&flags(&[
            ("kubeconfig", &path),
            ("server", "-"),
            ("ca", "-"),
        ]))
        .expect("right");
        assert_eq!(config.servers, [address("k", 6443)]);
        assert_eq!(config.files.ca, Pem::File(folder.join("ca.crt")));
        assert_eq!(config.token, Some(Token::Text("T".into())));
        let config = Config::new(&flags(&[("kubeconfig", &path)])).expect("flags win");
        assert_eq!(config.servers, [address("127.0.0.1", 6443)]);
        assert_eq!(config.files.ca, Pem::File("Cargo.toml".into()));
        let file = folder.join("toono.toml");
        std::fs::write(
            &file,
            format!("kubeconfig = '{path}'\nlisten = '127.0.0.1:7'\n"),
        )
        .expect("a file");
        let mut said = flags(&[("server", "-"), ("ca", "-")]);
        said.flag(flags::FILE, file.display().to_string());
        let config = Config::load(said).expect("right");
        assert_eq!(config.servers, [address("k", 6443)]);
        assert_eq!(config.listen.port(), 7);
        std::fs::remove_dir_all(&folder).expect("it is there");
    }

    #[test]
    fn a_wrong_value_is_named_with_its_flag_and_what_is_allowed() {
        let cases: &[(&[(&'static str, &str)], &str)] = &[
            (
                &[("server", "-")],
                "--server is missing: must be https://HOST[:PORT]",
            ),
            (
                &[("server", "http://a")],
                "--server \"http://a\": must be https://HOST[:PORT]",
            ),
            (
                &[("server", "https://a:0")],
                "--server \"https://a:0\": must be https",
            ),
            (
                &[("server", "https://a/b")],
                "--server \"https://a/b\": must be https",
            ),
            (
                &[("server", "https://u@a")],
                "--server \"https://u@a\": must be https",
            ),
            (
                &[("server", "https://")],
                "--server \"https://\": must be https",
            ),
            (
                &[("server", "https://a"), ("server", "https://a:443/")],
                "--server \"https://a:443/\": was said before",
            ),
            (
                &[("lb-mode", "random")],
                "--lb-mode \"random\": must be round-robin or priority",
            ),
            (&[("ca", "-")], "--ca is missing: the PEM file"),
            (
                &[("ca", "no-such-file")],
                "--ca \"no-such-file\": must be a file that can be read: ",
            ),
            (
                &[("ca", "src")],
                "--ca \"src\": must be a file, this is a folder",
            ),
            (
                &[("ca", "Cargo.toml"), ("ca", "Cargo.lock")],
                "--ca \"Cargo.lock\": was said before",
            ),
            (
                &[("kubeconfig", "no-such-file")],
                "--kubeconfig \"no-such-file\": must be a file",
            ),
            (
                &[("kubeconfig", "Cargo.lock")],
                "Cargo.lock: current-context: must name a context",
            ),
            (&[("cert", "Cargo.toml")], "--key is missing: --cert needs"),
            (&[("key", "Cargo.toml")], "--cert is missing: --key needs"),
            (
                &[("listen", "10261")],
                "--listen \"10261\": must be ADDRESS:PORT",
            ),
            (
                &[("admin-listen", "x:1")],
                "--admin-listen \"x:1\": must be ADDRESS:PORT",
            ),
            (
                &[("state-dir", "state")],
                "--state-dir \"state\": must be the absolute path",
            ),
            (
                &[("node-name", "Edge_0")],
                "--node-name \"Edge_0\": must be a node name",
            ),
            (
                &[("node-name", "-a")],
                "--node-name \"-a\": must be a node name",
            ),
            (
                &[("drop-name-prefix", "")],
                "--drop-name-prefix \"\": must be the start",
            ),
            (
                &[("sync-window", "1h")],
                "--sync-window \"1h\": must be seconds",
            ),
            (
                &[("flash-cap", "0")],
                "--flash-cap \"0\": must be megabytes",
            ),
            (
                &[("log-to", "file")],
                "--log-to \"file\": must be stderr, syslog, or syslog:/PATH",
            ),
            (
                &[("log-to", "syslog:log")],
                "--log-to \"syslog:log\": must be stderr",
            ),
            (
                &[("user", "no-such-user")],
                "--user \"no-such-user\": there is no user \"no-such-user\" in /etc/passwd",
            ),
            (
                &[("supervise", "yes")],
                "--supervise \"yes\": must be true or false",
            ),
            (&[("ready-fd", "-3")], "--ready-fd \"-3\": must be a number"),
            (
                &[("log-level", "loud")],
                "--log-level \"loud\": must be off",
            ),
        ];
        for (other, start) in cases {
            let complaint = Config::new(&flags(other)).expect_err(start).to_string();
            assert!(
                complaint.starts_with(start),
                "{complaint} should start with {start}"
            );
            assert!(!complaint.contains('\n'), "one line: {complaint}");
        }
    }
}
