//! TLS towards a server: who it must be, who we are, read from files that may change.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use futures_rustls::TlsConnector;
use futures_rustls::client::TlsStream;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::PrivateKeyDer;
pub use rustls_pki_types::ServerName;
use rustls_pki_types::pem::PemObject;
use smol::io::AsyncRead;
use smol::io::AsyncWrite;

/// A stream inside TLS.
pub type Stream<S> = TlsStream<S>;

/// Where PEM text stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pem {
    /// In a file, which may change.
    File(PathBuf),
    /// Here.
    Text {
        /// What it is called in errors.
        name: String,
        /// The text.
        text: Vec<u8>,
    },
}

impl Pem {
    fn read(&self) -> Result<Cow<'_, [u8]>, Error> {
        match self {
            Self::File(path) => std::fs::read(path)
                .map(Cow::Owned)
                .map_err(|error| wrong(self, &error)),
            Self::Text { text, .. } => Ok(Cow::Borrowed(text)),
        }
    }

    /// When the file was last written, and its size. Times are only ever compared for being the same.
    fn stamp(&self) -> Option<(SystemTime, u64)> {
        match self {
            Self::File(path) => std::fs::metadata(path)
                .and_then(|meta| Ok((meta.modified()?, meta.len())))
                .ok(),
            Self::Text { .. } => None,
        }
    }
}

impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Text { name, .. } => f.write_str(name),
        }
    }
}

/// What says whom to trust and who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// Certificates of the authorities that a server's certificate is checked against.
    pub ca: Pem,
    /// Certificate chain and key.
    pub identity: Option<(Pem, Pem)>,
}

/// The protocols that are offered by ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// HTTP/2, else HTTP/1.1.
    Http2,
    /// HTTP/1.1 only, for what HTTP/2 can't carry.
    Http1,
}

/// A file that can't be used: which, and why.
#[derive(Debug)]
pub struct Error {
    what: String,
    why: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

impl std::error::Error for Error {}

/// The client side of TLS, for one server.
///
/// Sessions are resumed (tickets live in memory; a ticket is a credential). As a ticket carries the identity that it was
/// given for, changed files make new configurations with no tickets.
pub struct Client {
    files: Files,
    stamps: Vec<Option<(SystemTime, u64)>>,
    http2: Arc<ClientConfig>,
    http1: Arc<ClientConfig>,
}

impl Client {
    /// Reads the files.
    pub fn new(files: Files) -> Result<Self, Error> {
        let stamps = stamps(&files);
        let (http2, http1) = configurations(&files)?;
        Ok(Self {
            files,
            stamps,
            http2,
            http1,
        })
    }

    /// Reads the files again if one has changed. On an error (a half-written file) all stays as it was, and the next call
    /// looks again. Connections that are open keep what they were opened with.
    pub fn refresh(&mut self) -> Result<bool, Error> {
        let stamps = stamps(&self.files);
        if stamps == self.stamps {
            return Ok(false);
        }
        (self.http2, self.http1) = configurations(&self.files)?;
        self.stamps = stamps;
        Ok(true)
    }

    /// What it takes to connect; lent out so that nothing is borrowed during the handshake.
    pub fn connector(&self, offer: Offer) -> Connector {
        Connector(match offer {
            Offer::Http2 => Arc::clone(&self.http2),
            Offer::Http1 => Arc::clone(&self.http1),
        })
    }
}

/// See [`Client::connector`].
pub struct Connector(Arc<ClientConfig>);

impl Connector {
    /// The handshake over `stream` with the server `name` (a DNS name or an IP address). The flag says whether HTTP/2 was
    /// agreed on.
    pub async fn connect<S>(&self, name: &str, stream: S) -> io::Result<(Stream<S>, bool)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "not a server name"))?;
        let stream = TlsConnector::from(Arc::clone(&self.0))
            .connect(name, stream)
            .await?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok((stream, http2))
    }
}

fn stamps(files: &Files) -> Vec<Option<(SystemTime, u64)>> {
    let identity = files.identity.iter().flat_map(|(cert, key)| [cert, key]);
    std::iter::once(&files.ca)
        .chain(identity)
        .map(Pem::stamp)
        .collect()
}

fn configurations(files: &Files) -> Result<(Arc<ClientConfig>, Arc<ClientConfig>), Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&files.ca)? {
        roots
            .add(certificate)
            .map_err(|error| wrong(&files.ca, &error))?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&files.ca, &error))?
        .with_root_certificates(roots);
    let mut http2 = match &files.identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let private = PrivateKeyDer::from_pem_slice(&key.read()?)
                .map_err(|error| pem(key, "a PEM private key", &error))?;
            builder
                .with_client_auth_cert(certificates(chain)?, private)
                .map_err(|error| wrong(chain, &format!("does not go with {key}: {error}")))?
        }
    };
    // Two to four tickets do: there is one connection, and now and then a second (h2.md).
    http2.resumption = Resumption::in_memory_sessions(4);
    let mut http1 = http2.clone();
    http2.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    http1.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((Arc::new(http2), Arc::new(http1)))
}

fn certificates(from: &Pem) -> Result<Vec<CertificateDer<'static>>, Error> {
    let text = from.read()?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            Err(wrong(from, &"holds no PEM certificate"))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(pem(from, "PEM certificates", &error)),
    }
}

fn pem(from: &Pem, wanted: &str, error: &rustls_pki_types::pem::Error) -> Error {
    wrong(from, &format!("can't be read as {wanted}: {error:?}"))
}

fn wrong(what: &Pem, why: &dyn fmt::Display) -> Error {
    Error {
        what: what.to_string(),
        why: why.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("toono-tls-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).expect("a temporary folder");
            Self(path)
        }

        fn write(&self, name: &str, text: &str) -> Pem {
            let path = self.0.join(name);
            fs::write(&path, text).expect("a file");
            Pem::File(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn pair() -> (String, String) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = rcgen::CertificateParams::new(vec!["a".to_owned()])
            .and_then(|params| params.self_signed(&key))
            .expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    #[test]
    fn a_wrong_file_is_named_with_what_is_wrong() {
        let folder = Folder::new("wrong");
        let (certificate, key) = pair();
        let ca = folder.write("ca.crt", &certificate);
        let missing = Client::new(Files {
            ca: Pem::File(folder.0.join("none")),
            identity: None,
        })
        .err()
        .expect("no such file");
        assert!(missing.to_string().contains("none: "), "{missing}");
        let empty = folder.write("empty", "");
        let error = Client::new(Files {
            ca: empty,
            identity: None,
        })
        .err()
        .expect("an empty file")
        .to_string();
        assert!(
            error.ends_with("empty: holds no PEM certificate"),
            "{error}"
        );
        let (_, other) = pair();
        let cert = folder.write("own.crt", &certificate);
        let other = folder.write("other.key", &other);
        let error = Client::new(Files {
            ca: ca.clone(),
            identity: Some((cert.clone(), other)),
        });
        let error = error.err().expect("a key of something else").to_string();
        assert!(error.contains("own.crt: does not go with"), "{error}");
        let key = folder.write("own.key", &key);
        assert!(
            Client::new(Files {
                ca,
                identity: Some((cert, key))
            })
            .is_ok()
        );
    }

    #[test]
    fn changed_files_are_read_again_and_a_half_written_one_changes_nothing() {
        let folder = Folder::new("changed");
        let ca = folder.write("ca.crt", &pair().0);
        let mut client = Client::new(Files { ca, identity: None }).expect("right files");
        assert!(!client.refresh().expect("nothing has changed"));
        let before = Arc::clone(&client.http2);
        folder.write("ca.crt", "-----BEGIN CERTIFICATE-----\nMIIB");
        assert!(client.refresh().is_err());
        assert!(Arc::ptr_eq(&before, &client.http2));
        folder.write("ca.crt", &(pair().0 + &pair().0));
        assert!(client.refresh().expect("whole again"));
        assert!(!Arc::ptr_eq(&before, &client.http2));
    }
}
