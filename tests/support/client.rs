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

/// Where requests go, and what is said in each.
#[derive(Clone, Debug)]
pub struct Client {
    address: SocketAddr,
    headers: Vec<(String, String)>,
    patience: Duration,
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
        Ok(Watch {
            status: head.status,
            framing: head.framing("GET")?,
            headers: head.headers,
            first_byte: started.elapsed(),
            wire: connection.wire,
            line: Vec::new(),
            ended: false,
            patience: self.patience,
        })
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
    pub fn text(&self) -> String {
        if self.header("content-encoding") != Some("gzip") {
            return String::from_utf8_lossy(&self.body).into_owned();
        }
        let mut text = String::new();
        MultiGzDecoder::new(self.body.as_slice())
            .read_to_string(&mut text)
            .expect("a gzip body is whole");
        text
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
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

    /// The exact text of each item of a list.
    #[track_caller]
    pub fn item_texts(&self) -> Vec<String> {
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

/// An event of a watch.
#[derive(Clone, Debug)]
pub struct Event {
    /// `ADDED` and so on.
    pub event: String,
    /// The object.
    pub object: Value,
    /// The line as it came, without its end.
    pub line: String,
    /// When it was whole.
    pub at: Instant,
}

impl Event {
    /// The object's name.
    pub fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// The object's version.
    pub fn version(&self) -> u64 {
        let version = self.object["metadata"]["resourceVersion"].as_str();
        version
            .and_then(|text| text.parse().ok())
            .unwrap_or_default()
    }
}

/// What a watch did within a time.
#[derive(Debug)]
pub enum Next {
    /// It said something.
    Event(Box<Event>),
    /// It ended well: with the last chunk.
    Ended,
    /// It ended otherwise.
    Broken(io::Error),
    /// It said nothing.
    Silent,
}

/// An open watch.
pub struct Watch {
    /// The status code.
    pub status: u16,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// From the request to the head of the answer.
    pub first_byte: Duration,
    framing: Framing,
    wire: Wire,
    line: Vec<u8>,
    ended: bool,
    patience: Duration,
}

impl Watch {
    /// Waits for the next event, `patience` at most.
    pub fn next(&mut self, patience: Duration) -> Next {
        self.wire.deadline = Instant::now() + patience;
        loop {
            if let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.line.drain(..=end).take(end).collect();
                return match parse_event(&line) {
                    Some(event) => Next::Event(Box::new(event)),
                    None => Next::Broken(bad(&format!(
                        "no event: {}",
                        String::from_utf8_lossy(&line)
                    ))),
                };
            }
            if self.ended && self.line.is_empty() {
                return Next::Ended;
            }
            if self.ended {
                return Next::Broken(bad("the stream ended inside a line"));
            }
            match self.framing.piece(&mut self.wire, &mut self.line) {
                Ok(true) => {}
                Ok(false) => self.ended = true,
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Next::Silent,
                Err(error) => return Next::Broken(error),
            }
        }
    }

    /// The next event, bookmarks included; anything else fails the test.
    #[track_caller]
    pub fn event(&mut self) -> Event {
        match self.next(self.patience) {
            Next::Event(event) => *event,
            other => panic!("an event was due: {other:?}"),
        }
    }

    /// The next event that is not a bookmark.
    #[track_caller]
    pub fn change(&mut self) -> Event {
        loop {
            let event = self.event();
            if event.event != "BOOKMARK" {
                return event;
            }
        }
    }

    /// Every event of this time, and how the time ended (`Silent` if the watch is still open).
    pub fn collect(&mut self, time: Duration) -> (Vec<Event>, Next) {
        let deadline = Instant::now() + time;
        let mut events = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.next(left.max(Duration::from_millis(1))) {
                Next::Event(event) => events.push(*event),
                other => return (events, other),
            }
        }
    }
}

fn parse_event(line: &[u8]) -> Option<Event> {
    let line = String::from_utf8(line.to_vec()).ok()?;
    let json: Value = serde_json::from_str(&line).ok()?;
    Some(Event {
        event: json["type"].as_str()?.to_string(),
        object: json["object"].clone(),
        line,
        at: Instant::now(),
    })
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
