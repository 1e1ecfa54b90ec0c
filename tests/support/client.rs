//! A raw HTTP/1.1 client: blocking, strict about framing, and with a clock. It knows nothing of the product.

use std::io;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::time::Duration;
use std::time::Instant;

use flate2::read::MultiGzDecoder;
use serde_json::Value;

use super::protobuf;
pub use watch::Event;
pub use watch::Next;
pub use watch::Watch;

mod watch;

/// Where requests go, and what is said in each.
#[derive(Clone, Debug)]
pub struct Client {
    address: SocketAddr,
    headers: Vec<(String, String)>,
    patience: Duration,
    /// Built-in kinds must be answered in protobuf.
    strict: bool,
}

/// A complete answer.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Header names as they came, and values.
    pub headers: Vec<(String, String)>,
    /// The body without its framing, still compressed if it came so.
    pub body: Vec<u8>,
    /// From the request to the last byte.
    pub elapsed: Duration,
    /// From the request to the head of the answer.
    pub first_byte: Duration,
}

impl Client {
    /// A client that waits 20 s at most, and says it is a kubelet.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            headers: vec![
                (
                    "User-Agent".into(),
                    "kubelet/v1.36.2 (linux/amd64) kubernetes/0123abc".into(),
                ),
                ("Accept".into(), "application/json, */*".into()),
            ],
            patience: Duration::from_secs(20),
            strict: false,
        }
    }

    /// The same as a client that would rather have protobuf, as kubelets would; an answer in JSON that the API server would
    /// have given in protobuf fails the test.
    pub fn in_protobuf(self) -> Self {
        let mut client = self.with("Accept", protobuf::PREFERRED);
        client.strict = true;
        client
    }

    #[track_caller]
    fn check(&self, target: &str, status: u16, headers: &[(String, String)]) {
        let path = target.split('?').next().unwrap_or_default();
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let built_in = match parts.as_slice() {
            ["api", "v1", _, ..] => true,
            ["apis", group, _, _, ..] => group.ends_with(".k8s.io"),
            _ => false,
        };
        let logged = parts.last() == Some(&"log");
        if self.strict && status == 200 && built_in && !logged {
            let named = |(name, value): &(String, String)| {
                name.eq_ignore_ascii_case("content-type") && value.starts_with(protobuf::MEDIA)
            };
            assert!(headers.iter().any(named), "{target} in JSON: {headers:?}");
        }
    }

    /// Where it asks.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same with a header set, or with `""` left out.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers
            .retain(|(key, _)| !key.eq_ignore_ascii_case(name));
        self.strict &= !name.eq_ignore_ascii_case("accept");
        if !value.is_empty() {
            self.headers.push((name.into(), value.into()));
        }
        self
    }

    /// The same with another limit to every wait.
    pub fn patient(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// A GET, on a connection of its own.
    pub fn get(&self, target: &str) -> io::Result<Answer> {
        self.request("GET", target, &[], b"")
    }

    /// A GET that must be answered by a complete list, status 200.
    #[track_caller]
    pub fn list(&self, target: &str) -> Answer {
        let answer = self
            .get(target)
            .unwrap_or_else(|error| panic!("GET {target}: {error}"));
        assert_eq!(answer.status, 200, "GET {target}: {}", answer.text());
        answer
    }

    /// A POST or so, with a body of JSON.
    pub fn write(&self, method: &str, target: &str, body: &Value) -> io::Result<Answer> {
        let media = if method == "PATCH" {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        self.request(
            method,
            target,
            &[("Content-Type", media)],
            body.to_string().as_bytes(),
        )
    }

    /// Any request, on a connection of its own.
    pub fn request(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Answer> {
        self.open()?.request(method, target, headers, body)
    }

    /// A connection for several requests.
    pub fn open(&self) -> io::Result<Connection> {
        let stream = TcpStream::connect_timeout(&self.address, self.patience)?;
        stream.set_nodelay(true)?;
        Ok(Connection {
            client: self.clone(),
            wire: Wire {
                stream,
                buffer: Vec::new(),
                deadline: Instant::now() + self.patience,
            },
        })
    }

    /// Opens a watch; returns when its head has come.
    pub fn watch(&self, target: &str) -> io::Result<Watch> {
        let mut connection = self.open()?;
        let started = Instant::now();
        connection.send("GET", target, &[], b"")?;
        let head = connection.wire.head()?;
        self.check(target, head.status, &head.headers);
        let framing = head.framing("GET")?;
        let first_byte = started.elapsed();
        Ok(Watch::new(
            head,
            framing,
            first_byte,
            connection.wire,
            self.patience,
        ))
    }

    /// Opens a watch that must be answered with 200.
    #[track_caller]
    pub fn watching(&self, target: &str) -> Watch {
        let watch = self
            .watch(target)
            .unwrap_or_else(|error| panic!("watch {target}: {error}"));
        assert_eq!(watch.status, 200, "watch {target}");
        watch
    }
}

/// An open connection.
pub struct Connection {
    client: Client,
    wire: Wire,
}

impl Connection {
    /// One exchange.
    pub fn request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Answer> {
        let started = Instant::now();
        self.wire.deadline = started + self.client.patience;
        self.send(method, target, headers, body)?;
        let head = self.wire.head()?;
        let first_byte = started.elapsed();
        let mut framing = head.framing(method)?;
        let mut body = Vec::new();
        while framing.piece(&mut self.wire, &mut body)? {}
        self.client.check(target, head.status, &head.headers);
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
            elapsed: started.elapsed(),
            first_byte,
        })
    }

    /// Sends a request without waiting for its answer.
    pub fn send(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<()> {
        let mut text = format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\n",
            self.client.address
        );
        for (name, value) in &self.client.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        self.wire.stream.write_all(text.as_bytes())?;
        self.wire.stream.write_all(body)
    }

    /// Reads the head of an answer and gives up the connection: what follows a 101 is not HTTP.
    pub fn upgraded(mut self) -> io::Result<(u16, Vec<u8>, TcpStream)> {
        let head = self.wire.head()?;
        Ok((head.status, self.wire.buffer, self.wire.stream))
    }
}

impl Answer {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The body, decompressed.
    #[track_caller]
    pub fn plain(&self) -> Vec<u8> {
        if self.header("content-encoding") != Some("gzip") {
            return self.body.clone();
        }
        let mut plain = Vec::new();
        MultiGzDecoder::new(self.body.as_slice())
            .read_to_end(&mut plain)
            .expect("a gzip body is whole");
        plain
    }

    /// Whether the body is protobuf.
    pub fn is_protobuf(&self) -> bool {
        self.header("content-type")
            .is_some_and(|media| media.starts_with(protobuf::MEDIA))
    }

    /// The body, decompressed; of protobuf a character a byte.
    #[track_caller]
    pub fn text(&self) -> String {
        if self.is_protobuf() {
            return characters(&self.plain());
        }
        String::from_utf8_lossy(&self.plain()).into_owned()
    }

    /// The body as JSON, also if it is protobuf.
    #[track_caller]
    pub fn json(&self) -> Value {
        if self.is_protobuf() {
            return protobuf::decode(&self.plain())
                .unwrap_or_else(|error| panic!("{error}: {:.200}", self.text()));
        }
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:.200}"))
    }

    /// The items of a list.
    #[track_caller]
    pub fn items(&self) -> Vec<Value> {
        let json = self.json();
        json["items"]
            .as_array()
            .cloned()
            .unwrap_or_else(|| panic!("no list: {json:.200}"))
    }

    /// The names of a list's items, in their order.
    #[track_caller]
    pub fn names(&self) -> Vec<String> {
        let name = |item: &Value| {
            item["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_string()
        };
        self.items().iter().map(name).collect()
    }

    /// The exact text of each item of a list; of protobuf a character a byte.
    #[track_caller]
    pub fn item_texts(&self) -> Vec<String> {
        if self.is_protobuf() {
            let plain = self.plain();
            let items = protobuf::items(&plain);
            return items.iter().map(|item| characters(item)).collect();
        }
        let text = self.text();
        let items = spans(&text);
        assert_eq!(items.len(), self.items().len(), "the span reader is right");
        items
    }

    /// `metadata.resourceVersion`.
    #[track_caller]
    pub fn version(&self) -> u64 {
        let version = self.json()["metadata"]["resourceVersion"].clone();
        version
            .as_str()
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(|| panic!("a decimal version: {version}"))
    }

    /// Checks that this is a Status of failure that says the code of the answer, and returns its reason.
    #[track_caller]
    pub fn reason(&self) -> String {
        let json = self.json();
        assert_eq!(
            (&json["kind"], &json["apiVersion"]),
            (&"Status".into(), &"v1".into()),
            "{json}"
        );
        assert_eq!(json["status"], "Failure", "{json}");
        assert_eq!(json["code"], self.status, "{json}");
        json["reason"].as_str().unwrap_or_default().to_string()
    }
}

/// The texts of the elements of the top-level `items`.
fn spans(text: &str) -> Vec<String> {
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    let (mut inside, mut start) = (false, None);
    let mut key = 0;
    let mut items = Vec::new();
    for (at, byte) in text.bytes().enumerate() {
        if quoted {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => {
                quoted = true;
                if depth == 1 {
                    key = at;
                }
            }
            b'[' | b'{' => {
                depth += 1;
                if byte == b'[' && depth == 2 && text[key..].starts_with("\"items\"") {
                    inside = true;
                } else if inside && depth == 3 {
                    start = Some(at);
                }
            }
            b']' | b'}' => {
                depth -= 1;
                if depth == 1 {
                    inside = false;
                } else if inside && depth == 2 {
                    items.extend(start.take().map(|start| text[start..=at].to_string()));
                }
            }
            _ => {}
        }
    }
    items
}

/// A character for each byte.
fn characters(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

fn bad(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// Bytes from the other side, with a deadline.
struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    deadline: Instant,
}

impl Wire {
    /// Reads more; false at the end of the connection.
    fn fill(&mut self) -> io::Result<bool> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) => Ok(false),
            Ok(length) => {
                self.buffer.extend_from_slice(&piece[..length]);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(io::ErrorKind::TimedOut.into())
            }
            Err(error) => Err(error),
        }
    }

    /// A line without its CRLF, which must be there whole.
    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).take(end).collect();
                return String::from_utf8(line).map_err(|_| bad("a line that is not text"));
            }
            if !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn head(&mut self) -> io::Result<Head> {
        let line = self.line()?;
        let status = line
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .ok_or_else(|| bad(&format!("no status line: {line}")))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(Head { status, headers });
            }
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| bad("a header without a colon"))?;
            headers.push((name.to_string(), value.trim().to_string()));
        }
    }
}

struct Head {
    status: u16,
    headers: Vec<(String, String)>,
}

impl Head {
    /// How the body is framed; an answer that leaves it open, or says it twice, is refused.
    fn framing(&self, method: &str) -> io::Result<Framing> {
        let all = |name: &str| -> Vec<&str> {
            let named = self
                .headers
                .iter()
                .filter(|(key, _)| key.eq_ignore_ascii_case(name));
            named.map(|(_, value)| value.as_str()).collect()
        };
        let lengths = all("content-length");
        let codings = all("transfer-encoding");
        if method == "HEAD" || self.status < 200 || matches!(self.status, 204 | 304) {
            return Ok(Framing::Length(0));
        }
        match (lengths.as_slice(), codings.as_slice()) {
            ([length], []) => Ok(Framing::Length(
                length.parse().map_err(|_| bad("a bad length"))?,
            )),
            ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked(0)),
            _ => Err(bad(&format!(
                "framing: lengths {lengths:?}, codings {codings:?}"
            ))),
        }
    }
}

enum Framing {
    /// So many bytes are to come.
    Length(usize),
    /// So many of the current chunk, or 0 between chunks.
    Chunked(usize),
}

impl Framing {
    /// Moves what has come to `body`; false after the last byte. A body that breaks off is an error.
    fn piece(&mut self, wire: &mut Wire, body: &mut Vec<u8>) -> io::Result<bool> {
        let chunked = matches!(self, Self::Chunked(_));
        let left = match self {
            Self::Length(0) => return Ok(false),
            Self::Length(left) => left,
            Self::Chunked(left) => {
                if *left == 0 {
                    let line = wire.line()?;
                    *left = usize::from_str_radix(line.trim(), 16)
                        .map_err(|_| bad("a bad chunk size"))?;
                    if *left == 0 {
                        if !wire.line()?.is_empty() {
                            return Err(bad("trailers were not expected"));
                        }
                        *self = Self::Length(0);
                        return Ok(false);
                    }
                }
                left
            }
        };
        if wire.buffer.is_empty() && !wire.fill()? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let length = wire.buffer.len().min(*left);
        let last = length == *left;
        if last && chunked {
            // The end of a chunk is taken together with its CRLF, so that a deadline leaves nothing half read.
            while wire.buffer.len() < length + 2 {
                if !wire.fill()? {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
        body.extend(wire.buffer.drain(..length));
        *left -= length;
        if last && chunked && !wire.line()?.is_empty() {
            return Err(bad("a chunk longer than its size"));
        }
        Ok(true)
    }
}
