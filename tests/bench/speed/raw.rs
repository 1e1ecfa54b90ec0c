//! A client that costs as little as it can, over TCP or TLS, so that what is measured is the other side.

use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use rustls::ClientConfig;
use rustls::ClientConnection;
use rustls::RootCertStore;
use rustls::StreamOwned;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;

use crate::support::apiserver::pki::Pki;

/// The longest wait for a byte.
const PATIENCE: Duration = Duration::from_secs(600);

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// An open connection.
pub(crate) struct Raw {
    stream: Box<dyn Stream>,
    scratch: Box<[u8]>,
    buffer: Vec<u8>,
    at: usize,
}

/// The answer to a list; the body as it came, without its framing.
pub(crate) struct Reply {
    /// The status code.
    pub(crate) status: u16,
    /// Whether the body is compressed.
    pub(crate) gzip: bool,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// The body as text.
    pub(crate) fn text(self) -> Vec<u8> {
        if !self.gzip {
            return self.body;
        }
        let mut text = Vec::new();
        MultiGzDecoder::new(self.body.as_slice())
            .read_to_end(&mut text)
            .expect("a gzip body is whole");
        text
    }

    /// How many items of the scene's naming a whole list holds.
    pub(crate) fn items(self) -> usize {
        let head = String::from_utf8_lossy(&self.body[..self.body.len().min(500)]);
        assert_eq!(self.status, 200, "{head}");
        count(&self.text())
    }
}

/// Items, each told by its name; a list that breaks off counts as none.
fn count(text: &[u8]) -> usize {
    if !text.trim_ascii_end().ends_with(b"]}") {
        return 0;
    }
    let mark = b"\"name\":\"c-";
    let mut rest = text;
    let mut count = 0;
    while let Some(at) = rest.iter().position(|byte| *byte == b'"') {
        rest = &rest[at..];
        count += usize::from(rest.starts_with(mark));
        rest = &rest[1..];
    }
    count
}

enum Framing {
    Length(usize),
    Chunked,
}

impl Raw {
    /// Over TCP.
    pub(crate) fn plain(address: SocketAddr) -> Self {
        Self::over(Box::new(tcp(address)))
    }

    /// Over TLS with HTTP/1.1, as a node.
    pub(crate) fn secure(address: SocketAddr, pki: &Pki) -> Self {
        let identity = pki.client("edge-00");
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(pki.authority().as_bytes()).expect("PEM"))
            .expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring speaks TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).expect("PEM")],
                PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("PEM"),
            )
            .expect("the key fits the certificate");
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = ServerName::try_from("localhost").expect("a name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("a valid setting");
        Self::over(Box::new(StreamOwned::new(connection, tcp(address))))
    }

    fn over(stream: Box<dyn Stream>) -> Self {
        Self {
            stream,
            scratch: vec![0; 64 * 1024].into(),
            buffer: Vec::new(),
            at: 0,
        }
    }

    fn fill(&mut self) {
        if self.at == self.buffer.len() {
            self.buffer.clear();
            self.at = 0;
        }
        let length = self
            .stream
            .read(&mut self.scratch)
            .expect("the other side answers");
        assert_ne!(length, 0, "the connection ended inside an answer");
        self.buffer.extend_from_slice(&self.scratch[..length]);
    }

    /// A line without its CRLF.
    fn line(&mut self) -> String {
        loop {
            let rest = &self.buffer[self.at..];
            if let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&rest[..end]).into_owned();
                self.at += end + 2;
                return line;
            }
            self.fill();
        }
    }

    fn take(&mut self, mut length: usize, into: &mut Vec<u8>) {
        while length > 0 {
            if self.at == self.buffer.len() {
                self.fill();
            }
            let part = (self.buffer.len() - self.at).min(length);
            into.extend_from_slice(&self.buffer[self.at..self.at + part]);
            self.at += part;
            length -= part;
        }
    }

    fn ask(&mut self, target: &str, gzip: bool) -> (u16, bool, Framing) {
        let coding = if gzip {
            "Accept-Encoding: gzip\r\n"
        } else {
            ""
        };
        let text = format!(
            "GET {target} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: benchmark/v0.0.0\r\n\
             Accept: application/json, */*\r\n{coding}\r\n"
        );
        self.stream
            .write_all(text.as_bytes())
            .expect("the other side reads");
        self.stream.flush().expect("the other side reads");
        let line = self.line();
        let status = line.get(9..12).and_then(|code| code.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status line: {line}"));
        let (mut gzipped, mut framing) = (false, Framing::Length(0));
        loop {
            let line = self.line().to_ascii_lowercase();
            match line
                .split_once(':')
                .map(|(name, value)| (name, value.trim()))
            {
                None => return (status, gzipped, framing),
                Some(("content-encoding", value)) => gzipped = value == "gzip",
                Some(("transfer-encoding", _)) => framing = Framing::Chunked,
                Some(("content-length", value)) => {
                    framing = Framing::Length(value.parse().expect("a length"));
                }
                Some(_) => {}
            }
        }
    }

    fn chunk(&mut self, into: &mut Vec<u8>) -> bool {
        let line = self.line();
        let size = usize::from_str_radix(line.trim(), 16).expect("a chunk's size");
        self.take(size, into);
        self.line();
        size > 0
    }

    /// One exchange.
    pub(crate) fn get(&mut self, target: &str, gzip: bool) -> Reply {
        let (status, gzip, framing) = self.ask(target, gzip);
        let mut body = Vec::new();
        match framing {
            Framing::Length(length) => self.take(length, &mut body),
            Framing::Chunked => while self.chunk(&mut body) {},
        }
        Reply { status, gzip, body }
    }

    /// Opens a watch; its lines are read with `next`.
    pub(crate) fn watch(mut self, target: &str) -> Lines {
        let (status, _, framing) = self.ask(target, false);
        assert_eq!(status, 200, "watch {target}");
        assert!(matches!(framing, Framing::Chunked), "a watch has no length");
        Lines {
            raw: self,
            pending: Vec::new(),
        }
    }
}

/// An open watch.
pub(crate) struct Lines {
    raw: Raw,
    pending: Vec<u8>,
}

impl Lines {
    /// Waits for a whole line; its length.
    pub(crate) fn next(&mut self) -> usize {
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                self.pending.drain(..=end);
                return end + 1;
            }
            assert!(self.raw.chunk(&mut self.pending), "the watch ended");
        }
    }
}

fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("somebody listens");
    stream.set_nodelay(true).expect("a socket");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a valid time");
    stream
}
