//! Flags as typed become the configuration as meant, once; a wrong value is refused by name.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::io::tls::ServerName;

/// What `toono agent` was told, as typed.
#[derive(Debug, Default)]
pub struct Flags {
    /// `--server`
    pub server: Option<String>,
    /// `--ca`
    pub ca: Option<String>,
    /// `--cert`
    pub cert: Option<String>,
    /// `--key`
    pub key: Option<String>,
    /// `--token-file`
    pub token_file: Option<String>,
    /// `--node-name`
    pub node_name: Option<String>,
    /// `--listen`
    pub listen: Option<String>,
    /// `--admin-listen`
    pub admin_listen: Option<String>,
    /// `--state-dir`
    pub state_dir: Option<String>,
    /// `--drop-name-prefix`
    pub drop_name_prefix: Option<String>,
    /// `--sync-window`
    pub sync_window: Option<String>,
    /// `--flash-cap`
    pub flash_cap: Option<String>,
    /// `--log-level`
    pub log_level: Option<String>,
}

/// What `toono agent` is to do.
#[derive(Clone, Debug)]
pub struct Config {
    /// The API server.
    pub server: Server,
    /// PEM file with the certificates that the API server's is checked against.
    pub ca: PathBuf,
    /// PEM files with the agent's certificate chain and key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// File with the agent's bearer token.
    pub token_file: Option<PathBuf>,
    /// The node's name.
    pub node_name: String,
    /// Where node components ask.
    pub listen: SocketAddr,
    /// Where the operator asks.
    pub admin_listen: SocketAddr,
    /// The only folder written.
    pub state_dir: PathBuf,
    /// Objects whose name starts so are kept from clients.
    pub drop_name_prefix: Option<String>,
    /// How long what is not a pod, a secret or a configmap may wait for its sync to flash.
    pub sync_window: Duration,
    /// How many bytes the mirror may hold on flash.
    pub flash_cap: u64,
    /// What is logged.
    pub log_level: log::LevelFilter,
}

/// Host and port of an API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// DNS name or IP address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// A flag, its value, and what is allowed instead.
#[derive(Debug, PartialEq, Eq)]
pub struct Complaint {
    flag: &'static str,
    value: Option<String>,
    allowed: String,
}

impl Complaint {
    fn new(flag: &'static str, value: &str, allowed: impl Into<String>) -> Self {
        Self {
            flag,
            value: Some(value.to_owned()),
            allowed: allowed.into(),
        }
    }

    fn missing(flag: &'static str, allowed: impl Into<String>) -> Self {
        Self {
            flag,
            value: None,
            allowed: allowed.into(),
        }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} {value:?}: {}", self.flag, self.allowed),
            None => write!(f, "{} is missing: {}", self.flag, self.allowed),
        }
    }
}

impl std::error::Error for Complaint {}

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

    /// Reads the flags.
    pub fn new(flags: Flags) -> Result<Self, Complaint> {
        let server = parse_server(flags.server.as_deref())?;
        let ca = flags.ca.ok_or_else(|| {
            Complaint::missing(
                "--ca",
                "the PEM file of the authority that signed the API server's certificate",
            )
        })?;
        let identity = match (flags.cert, flags.key) {
            (Some(cert), Some(key)) => Some((file("--cert", &cert)?, file("--key", &key)?)),
            (None, None) => None,
            (Some(_), None) => {
                return Err(Complaint::missing(
                    "--key",
                    "--cert needs the key that belongs to it",
                ));
            }
            (None, Some(_)) => {
                return Err(Complaint::missing(
                    "--cert",
                    "--key needs the certificate that belongs to it",
                ));
            }
        };
        Ok(Self {
            server,
            ca: file("--ca", &ca)?,
            identity,
            token_file: flags
                .token_file
                .map(|path| file("--token-file", &path))
                .transpose()?,
            node_name: node_name(flags.node_name)?,
            listen: address("--listen", flags.listen.as_deref().unwrap_or(Self::LISTEN))?,
            admin_listen: address(
                "--admin-listen",
                flags.admin_listen.as_deref().unwrap_or(Self::ADMIN_LISTEN),
            )?,
            state_dir: folder(
                "--state-dir",
                flags.state_dir.as_deref().unwrap_or(Self::STATE_DIR),
            )?,
            drop_name_prefix: flags
                .drop_name_prefix
                .map(|prefix| name_prefix(&prefix))
                .transpose()?,
            sync_window: flags.sync_window.map_or(Ok(Self::SYNC_WINDOW), |text| {
                seconds("--sync-window", &text)
            })?,
            flash_cap: flags
                .flash_cap
                .map_or(Ok(Self::FLASH_CAP), |text| megabytes("--flash-cap", &text))?,
            log_level: flags
                .log_level
                .map_or(Ok(log::LevelFilter::Info), |text| level(&text))?,
        })
    }
}

fn parse_server(text: Option<&str>) -> Result<Server, Complaint> {
    const ALLOWED: &str =
        "must be https://HOST[:PORT] of the API server, e.g. https://192.0.2.10:6443";
    let text = text.ok_or_else(|| Complaint::missing("--server", ALLOWED))?;
    let wrong = || Complaint::new("--server", text, ALLOWED);
    let authority = text
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
    Ok(Server {
        host: host.to_owned(),
        port,
    })
}

/// The node's name as given, else the host's, as kubelet has it.
fn node_name(given: Option<String>) -> Result<String, Complaint> {
    const ALLOWED: &str =
        "must be a node name: lower case letters, digits, '-' and '.', at most 253";
    let (text, flag) = match given {
        Some(text) => (text, "--node-name"),
        None => {
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            (
                host.trim().to_ascii_lowercase(),
                "--node-name (taken from the host)",
            )
        }
    };
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    let bytes = text.as_bytes();
    if bytes.len() > 253
        || !bytes.iter().all(|b| letter(*b))
        || !edge(bytes.first())
        || !edge(bytes.last())
    {
        return Err(Complaint::new(flag, &text, ALLOWED));
    }
    Ok(text)
}

fn address(flag: &'static str, text: &str) -> Result<SocketAddr, Complaint> {
    text.parse()
        .map_err(|_| Complaint::new(flag, text, "must be ADDRESS:PORT, e.g. 127.0.0.1:10261"))
}

fn file(flag: &'static str, text: &str) -> Result<PathBuf, Complaint> {
    let path = PathBuf::from(text);
    match std::fs::metadata(&path) {
        Ok(meta) if !meta.is_dir() => Ok(path),
        Ok(_) => Err(Complaint::new(
            flag,
            text,
            "must be a file, this is a folder",
        )),
        Err(error) => Err(Complaint::new(
            flag,
            text,
            format!("must be a file that can be read: {error}"),
        )),
    }
}

fn folder(flag: &'static str, text: &str) -> Result<PathBuf, Complaint> {
    let path = PathBuf::from(text);
    if !path.is_absolute() {
        return Err(Complaint::new(
            flag,
            text,
            "must be the absolute path of a folder",
        ));
    }
    Ok(path)
}

fn name_prefix(text: &str) -> Result<String, Complaint> {
    let letter =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.' || b == b':';
    if text.is_empty() || !text.bytes().all(letter) {
        return Err(Complaint::new(
            "--drop-name-prefix",
            text,
            "must be the start of an object's name: lower case letters, digits, '-', '.' and ':'",
        ));
    }
    Ok(text.to_owned())
}

fn seconds(flag: &'static str, text: &str) -> Result<Duration, Complaint> {
    let value = text.parse().ok().filter(|seconds| *seconds <= 3600);
    value
        .map(Duration::from_secs)
        .ok_or_else(|| Complaint::new(flag, text, "must be seconds, 0 to 3600"))
}

fn megabytes(flag: &'static str, text: &str) -> Result<u64, Complaint> {
    let value = text.parse::<u64>().ok();
    value
        .filter(|megabytes| (1..=1 << 20).contains(megabytes))
        .map(|megabytes| megabytes << 20)
        .ok_or_else(|| Complaint::new(flag, text, "must be megabytes, 1 to 1048576"))
}

fn level(text: &str) -> Result<log::LevelFilter, Complaint> {
    text.parse().map_err(|_| {
        Complaint::new(
            "--log-level",
            text,
            "must be off, error, warn, info or debug",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags() -> Flags {
        Flags {
            server: Some("https://127.0.0.1:6443".into()),
            ca: Some("Cargo.toml".into()),
            node_name: Some("edge-00".into()),
            ..Flags::default()
        }
    }

    #[test]
    fn what_is_not_said_has_yurthubs_ports_and_one_folder() {
        let config = Config::new(flags()).expect("right flags");
        assert_eq!(
            config.server,
            Server {
                host: "127.0.0.1".into(),
                port: 6443
            }
        );
        assert_eq!(config.listen.to_string(), "127.0.0.1:10261");
        assert_eq!(config.admin_listen.to_string(), "127.0.0.1:10267");
        assert_eq!(config.state_dir, PathBuf::from("/var/lib/toono"));
        assert!(
            config.identity.is_none()
                && config.token_file.is_none()
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
            let config = Config::new(Flags {
                server: Some(text.into()),
                ..flags()
            })
            .expect(text);
            assert_eq!(
                config.server,
                Server {
                    host: host.into(),
                    port
                },
                "{text}"
            );
        }
    }

    #[test]
    fn a_wrong_value_is_named_with_its_flag_and_what_is_allowed() {
        let cases: Vec<(Flags, &str)> = vec![
            (
                Flags {
                    server: None,
                    ..flags()
                },
                "--server is missing: must be https://HOST[:PORT]",
            ),
            (
                Flags {
                    server: Some("http://a".into()),
                    ..flags()
                },
                "--server \"http://a\": must be https://HOST[:PORT]",
            ),
            (
                Flags {
                    server: Some("https://a:0".into()),
                    ..flags()
                },
                "--server \"https://a:0\": must be https",
            ),
            (
                Flags {
                    server: Some("https://a/b".into()),
                    ..flags()
                },
                "--server \"https://a/b\": must be https",
            ),
            (
                Flags {
                    server: Some("https://u@a".into()),
                    ..flags()
                },
                "--server \"https://u@a\": must be https",
            ),
            (
                Flags {
                    server: Some("https://".into()),
                    ..flags()
                },
                "--server \"https://\": must be https",
            ),
            (
                Flags {
                    ca: None,
                    ..flags()
                },
                "--ca is missing: the PEM file",
            ),
            (
                Flags {
                    ca: Some("no-such-file".into()),
                    ..flags()
                },
                "--ca \"no-such-file\": must be a file that can be read: ",
            ),
            (
                Flags {
                    ca: Some("src".into()),
                    ..flags()
                },
                "--ca \"src\": must be a file, this is a folder",
            ),
            (
                Flags {
                    cert: Some("Cargo.toml".into()),
                    ..flags()
                },
                "--key is missing: --cert needs",
            ),
            (
                Flags {
                    key: Some("Cargo.toml".into()),
                    ..flags()
                },
                "--cert is missing: --key needs",
            ),
            (
                Flags {
                    listen: Some("10261".into()),
                    ..flags()
                },
                "--listen \"10261\": must be ADDRESS:PORT",
            ),
            (
                Flags {
                    admin_listen: Some("x:1".into()),
                    ..flags()
                },
                "--admin-listen \"x:1\": must be ADDRESS:PORT",
            ),
            (
                Flags {
                    state_dir: Some("state".into()),
                    ..flags()
                },
                "--state-dir \"state\": must be the absolute path",
            ),
            (
                Flags {
                    node_name: Some("Edge_0".into()),
                    ..flags()
                },
                "--node-name \"Edge_0\": must be a node name",
            ),
            (
                Flags {
                    node_name: Some("-a".into()),
                    ..flags()
                },
                "--node-name \"-a\": must be a node name",
            ),
            (
                Flags {
                    drop_name_prefix: Some(String::new()),
                    ..flags()
                },
                "--drop-name-prefix \"\": must be the start",
            ),
            (
                Flags {
                    sync_window: Some("1h".into()),
                    ..flags()
                },
                "--sync-window \"1h\": must be seconds",
            ),
            (
                Flags {
                    log_level: Some("loud".into()),
                    ..flags()
                },
                "--log-level \"loud\": must be off",
            ),
        ];
        for (flags, start) in cases {
            let complaint = Config::new(flags).expect_err(start).to_string();
            assert!(
                complaint.starts_with(start),
                "{complaint} should start with {start}"
            );
            assert!(!complaint.contains('\n'), "one line: {complaint}");
        }
    }
}
