//! A kubeconfig, as kubeadm, k3s and kubectl write them: which server, whom to trust, who we are.
//!
//! Of the format (client-go's `clientcmd/api/v1`) the current context is read, and of it what an agent can use: one server,
//! certificates and keys in files or embedded in base64, a token or the file of one. Names of files are relative to the
//! kubeconfig's folder. What would be unsafe or can't be done (no check of the server, plugins, passwords) is refused.

use std::path::Path;
use std::path::PathBuf;

use data_encoding::BASE64;
use saphyr_parser::Event;
use saphyr_parser::Parser;
use saphyr_parser::ScalarStyle;

use crate::io::tls::Pem;
use crate::shell::settings;
use crate::shell::settings::Complaint;
use crate::state::upstream::Token;

/// How deep a kubeconfig may be nested.
const DEPTH: usize = 16;

/// What a kubeconfig says.
#[derive(Clone, Debug)]
pub struct Kubeconfig {
    /// `https://HOST[:PORT]`, as written.
    pub server: String,
    /// The name that the server's certificate must have, when it is not the server's own.
    pub tls_name: Option<String>,
    /// Whom to trust.
    pub ca: Pem,
    /// Certificate chain and key.
    pub identity: Option<(Pem, Pem)>,
    /// A bearer token.
    pub token: Option<Token>,
}

/// A kubeconfig as a list of its leaves.
struct Document {
    name: String,
    folder: PathBuf,
    /// `clusters/0/cluster/server` and its value.
    leaves: Vec<(String, String)>,
}

impl Kubeconfig {
    /// Reads the file.
    pub fn read(path: &Path) -> Result<Self, Complaint> {
        let text = settings::read(path)?;
        let document = Document {
            name: path.display().to_string(),
            folder: path.parent().unwrap_or(Path::new("")).to_owned(),
            leaves: leaves(&text).map_err(|(line, why)| {
                Complaint::about(
                    format!("{}:{line}", path.display()),
                    format!("is not a kubeconfig: {why}"),
                )
            })?,
        };
        let context = document
            .leaf("current-context")
            .filter(|name| !name.is_empty())
            .ok_or_else(|| document.wrong("current-context", "must name a context"))?;
        let context = document.named("contexts", context)? + "/context";
        let part = |kind: &str, list: &str| {
            let at = format!("{context}/{kind}");
            let name = document
                .leaf(&at)
                .ok_or_else(|| document.wrong(&at, "is missing"))?;
            Ok(format!("{}/{kind}", document.named(list, name)?))
        };
        document.read(&part("cluster", "clusters")?, &part("user", "users")?)
    }
}

impl Document {
    fn read(&self, cluster: &str, user: &str) -> Result<Kubeconfig, Complaint> {
        for (at, why) in [
            (
                format!("{cluster}/proxy-url"),
                "is not supported: the server must be reached without a proxy",
            ),
            (
                format!("{user}/exec"),
                "is not supported: a certificate or a token is needed",
            ),
            (
                format!("{user}/auth-provider"),
                "is not supported: a certificate or a token is needed",
            ),
            (
                format!("{user}/username"),
                "is not supported: a certificate or a token is needed",
            ),
        ] {
            if self.holds(&at) {
                return Err(self.wrong(&at, why));
            }
        }
        let insecure = format!("{cluster}/insecure-skip-tls-verify");
        if self.leaf(&insecure).is_some_and(|value| value != "false") {
            return Err(self.wrong(
                &insecure,
                "is not supported: certificate-authority says whom to trust",
            ));
        }
        let server = format!("{cluster}/server");
        let ca = format!("{cluster}/certificate-authority");
        let cert = self.pem(&format!("{user}/client-certificate"))?;
        let key = self.pem(&format!("{user}/client-key"))?;
        let identity = match (cert, key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => {
                return Err(self.wrong(user, "client-certificate and client-key need each other"));
            }
        };
        // As client-go has it: a file's token is the newer one.
        let token = match self.leaf(&format!("{user}/tokenFile")) {
            Some(path) => Some(Token::File(self.folder.join(path))),
            None => self
                .leaf(&format!("{user}/token"))
                .filter(|token| !token.is_empty())
                .map(|token| Token::Text(token.to_owned())),
        };
        Ok(Kubeconfig {
            server: self
                .leaf(&server)
                .ok_or_else(|| self.wrong(&server, "is missing"))?
                .to_owned(),
            tls_name: self
                .leaf(&format!("{cluster}/tls-server-name"))
                .map(str::to_owned),
            ca: self.pem(&ca)?.ok_or_else(|| {
                self.wrong(&ca, "is missing, and -data too: whom to trust must be said")
            })?,
            identity,
            token,
        })
    }

    /// The embedded text, which wins in client-go, or the file.
    fn pem(&self, at: &str) -> Result<Option<Pem>, Complaint> {
        let data = format!("{at}-data");
        if let Some(text) = self.leaf(&data).filter(|text| !text.is_empty()) {
            let bytes = BASE64
                .decode(text.as_bytes())
                .map_err(|error| self.wrong(&data, &format!("is not base64: {error}")))?;
            return Ok(Some(Pem::Text {
                name: format!("{}: {data}", self.name),
                text: bytes,
            }));
        }
        let path = self.leaf(at).filter(|path| !path.is_empty());
        Ok(path.map(|path| Pem::File(self.folder.join(path))))
    }

    fn leaf(&self, at: &str) -> Option<&str> {
        let leaf = self.leaves.iter().find(|(path, _)| path == at);
        leaf.map(|(_, value)| value.as_str())
    }

    fn holds(&self, at: &str) -> bool {
        self.leaves.iter().any(|(path, value)| {
            let rest = path.strip_prefix(at);
            rest.is_some_and(|rest| rest.starts_with('/') || (rest.is_empty() && !value.is_empty()))
        })
    }

    /// Where the entry of this name is in a list.
    fn named(&self, list: &str, name: &str) -> Result<String, Complaint> {
        let entry = self.leaves.iter().find_map(|(path, value)| {
            let at = path.strip_suffix("/name")?;
            let number = at.strip_prefix(list)?.strip_prefix('/')?;
            (value == name && !number.contains('/')).then(|| at.to_owned())
        });
        entry.ok_or_else(|| self.wrong(list, &format!("has none that is called {name:?}")))
    }

    fn wrong(&self, at: &str, why: &str) -> Complaint {
        Complaint::about(format!("{}: {at}", self.name), why)
    }
}

/// The leaves of a YAML document (a JSON one is one too), or the line and what is wrong with it.
fn leaves(text: &str) -> Result<Vec<(String, String)>, (usize, String)> {
    enum Level {
        Map(Option<String>),
        List(usize),
    }
    let mut levels: Vec<Level> = Vec::new();
    let mut leaves = Vec::new();
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) =
            event.map_err(|error| (error.marker().line(), error.info().to_owned()))?;
        let wrong = |why: &str| Err((span.start.line(), why.to_owned()));
        // A value's place; the first scalar of a pair is its key.
        if let (Some(Level::Map(key @ None)), Event::Scalar(text, ..)) = (levels.last_mut(), &event)
        {
            *key = Some(text.to_string());
            continue;
        }
        let opens = matches!(event, Event::MappingStart(..) | Event::SequenceStart(..));
        if let Event::Scalar(text, style, ..) = &event {
            let parts: Vec<String> = levels
                .iter()
                .map(|level| match level {
                    Level::Map(key) => key.clone().unwrap_or_default(),
                    Level::List(at) => at.to_string(),
                })
                .collect();
            // Nothing is written as nothing, `~` or `null`.
            let nothing = *style == ScalarStyle::Plain && matches!(&**text, "~" | "null");
            let value = if nothing { "" } else { text };
            leaves.push((parts.join("/"), value.to_owned()));
        }
        match event {
            Event::MappingStart(..) => levels.push(Level::Map(None)),
            Event::SequenceStart(..) => levels.push(Level::List(0)),
            Event::MappingEnd | Event::SequenceEnd => drop(levels.pop()),
            Event::Alias(_) => return wrong("aliases are not supported"),
            _ => {}
        }
        if levels.len() > DEPTH {
            return wrong("it is nested too deep");
        }
        if !opens {
            match levels.last_mut() {
                Some(Level::Map(key)) => *key = None,
                Some(Level::List(at)) => *at += 1,
                None => {}
            }
        }
    }
    Ok(leaves)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBEADM: &str = "apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: LS0tLS1CRUdJTg==
    server: https://10.0.0.1:6443
  name: kubernetes
contexts:
- context:
    cluster: kubernetes
    user: system:node:edge-00
  name: system:node:edge-00@kubernetes
- context: {cluster: other, user: nobody}
  name: other
current-context: system:node:edge-00@kubernetes
kind: Config
preferences: {}
users:
- name: system:node:edge-00
  user:
    client-certificate: /var/lib/kubelet/pki/kubelet-client-current.pem
    client-key: pki/kubelet-client-current.pem
";

    fn read(name: &str, text: &str) -> Result<Kubeconfig, Complaint> {
        let path = std::env::temp_dir().join(format!("toono-kube-{name}-{}", std::process::id()));
        std::fs::write(&path, text).expect("a temporary file");
        let read = Kubeconfig::read(&path);
        std::fs::remove_file(&path).expect("it is there");
        read
    }

    #[test]
    fn what_kubeadm_writes_is_read() {
        let config = read("adm", KUBEADM).expect("right");
        assert_eq!(config.server, "https://10.0.0.1:6443");
        assert!(matches!(&config.ca, Pem::Text { text, .. } if text == b"-----BEGIN"));
        let (cert, key) = config.identity.expect("both");
        let current = "/var/lib/kubelet/pki/kubelet-client-current.pem";
        assert!(matches!(cert, Pem::File(path) if path == Path::new(current)));
        let beside = std::env::temp_dir().join("pki/kubelet-client-current.pem");
        assert!(matches!(key, Pem::File(path) if path == beside));
        assert!(config.token.is_none() && config.tls_name.is_none());
    }

    #[test]
    fn a_token_or_its_file_will_do_and_json_is_yaml() {
        let text = r#"{"current-context":"a","contexts":[{"name":"a","context":{"cluster":"c","user":"u"}}],
            "clusters":[{"name":"c","cluster":{"server":"https://a","certificate-authority":"ca.crt","tls-server-name":"b"}}],
            "users":[{"name":"u","user":{"token":"T","tokenFile":"t"}}]}"#;
        let config = read("json", text).expect("right");
        let beside = std::env::temp_dir().join("t");
        assert!(matches!(config.token, Some(Token::File(path)) if path == beside));
        assert_eq!(config.tls_name.as_deref(), Some("b"));
        let config = read("token", &text.replace(",\"tokenFile\":\"t\"", "")).expect("right");
        assert!(matches!(config.token, Some(Token::Text(token)) if token == "T"));
    }

    #[test]
    fn what_is_wrong_is_named_by_its_place() {
        for (name, from, to, end) in [
            (
                "none",
                "current-context: s",
                "current: s",
                ": current-context: must name a context",
            ),
            (
                "context",
                "current-context: s",
                "current-context: x",
                ": contexts: has none that is called \"xystem:node:edge-00@kubernetes\"",
            ),
            (
                "cluster",
                "cluster: kubernetes",
                "cluster: k",
                ": clusters: has none that is called \"k\"",
            ),
            (
                "server",
                "    server: https://10.0.0.1:6443\n",
                "",
                ": clusters/0/cluster/server: is missing",
            ),
            (
                "base64",
                "LS0tLS1CRUdJTg==",
                "LS0*",
                ": clusters/0/cluster/certificate-authority-data: is not base64: ",
            ),
            (
                "insecure",
                "server:",
                "insecure-skip-tls-verify: true\n    server:",
                "insecure-skip-tls-verify: is not supported",
            ),
            (
                "exec",
                "client-key:",
                "exec: {command: aws}\n    client-key:",
                ": users/0/user/exec: is not supported",
            ),
            (
                "half",
                "    client-key: pki/kubelet-client-current.pem\n",
                "",
                ": users/0/user: client-certificate and client-key need each other",
            ),
            ("alias", "server: ", "server: *a", ": is not a kubeconfig: "),
            (
                "tab",
                "- cluster:",
                "\t- cluster:",
                ": is not a kubeconfig: ",
            ),
        ] {
            assert!(KUBEADM.contains(from));
            let complaint = read(name, &KUBEADM.replace(from, to)).expect_err(name);
            let complaint = complaint.to_string();
            assert!(
                complaint.contains(end) && !complaint.contains('\n'),
                "{complaint}"
            );
        }
        let deep = "[".repeat(100);
        assert!(read("deep", &deep).is_err());
    }
}
