//! What was said on the command line and in the configuration file, and how a wrong value is complained about.
//!
//! The file is TOML, flat: every flag of `toono agent` is a key of the same name, a flag that may be given several times an
//! array. What was said on the command line wins over the file, key by key.

use std::fmt;
use std::path::Path;
use std::rc::Rc;

use toml_parser::ParseError;
use toml_parser::Source;
use toml_parser::parser::Event;
use toml_parser::parser::EventKind;
use toml_parser::parser::parse_document;

/// The largest configuration file.
const LIMIT: u64 = 1 << 20;

/// Where a value was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// On the command line.
    Flag,
    /// In a file, on a line counted from 1.
    File(Rc<str>, usize),
    /// Taken from somewhere else: this says where.
    Other(&'static str),
}

/// A value as it was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// Its key.
    pub key: &'static str,
    /// The text.
    pub text: String,
    /// Where it was said.
    pub origin: Origin,
}

impl Value {
    /// A complaint about it.
    pub fn wrong(&self, allowed: impl Into<String>) -> Complaint {
        Complaint {
            what: format!("{} {:?}", self.name(), self.text),
            why: allowed.into(),
        }
    }

    fn name(&self) -> String {
        match &self.origin {
            Origin::Flag => format!("--{}", self.key),
            Origin::File(path, line) => format!("{path}:{line}: {}", self.key),
            Origin::Other(from) => format!("--{} (taken from {from})", self.key),
        }
    }
}

/// What is wrong, and what is allowed instead: one line.
#[derive(Debug, PartialEq, Eq)]
pub struct Complaint {
    what: String,
    why: String,
}

impl Complaint {
    /// About something that is no value of a key: a file, a part of one.
    pub fn about(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            why: why.into(),
        }
    }

    /// About a key that was not said anywhere.
    pub fn missing(key: &'static str, allowed: impl Into<String>) -> Self {
        Self::about(format!("--{key} is missing"), allowed)
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why.replace('\n', " "))
    }
}

impl std::error::Error for Complaint {}

/// All that was said, by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// A key's own in their order; there are a dozen keys.
    values: Vec<(&'static str, Vec<Value>)>,
}

impl Settings {
    /// A value of the command line.
    pub fn flag(&mut self, key: &'static str, text: impl Into<String>) {
        self.add(Value {
            key,
            text: text.into(),
            origin: Origin::Flag,
        });
    }

    fn add(&mut self, value: Value) {
        match self.values.iter_mut().find(|(key, _)| *key == value.key) {
            Some((_, values)) => values.push(value),
            None => self.values.push((value.key, vec![value])),
        }
    }

    /// Adds what a file says and the command line does not. `keys` are those there are.
    pub fn read(&mut self, path: &Path, keys: &[&'static str]) -> Result<(), Complaint> {
        let name: Rc<str> = path.display().to_string().into();
        let text = read(path)?;
        let mut said = Self::default();
        for (key, text, line) in pairs(&text).map_err(|(line, why)| {
            Complaint::about(format!("{name}:{line}"), format!("is not TOML: {why}"))
        })? {
            let Some(key) = keys.iter().find(|known| **known == key) else {
                let known = keys.join(", ");
                return Err(Complaint::about(
                    format!("{name}:{line}: {key}"),
                    format!("there is no such key; there are {known}"),
                ));
            };
            said.add(Value {
                key,
                text,
                origin: Origin::File(Rc::clone(&name), line),
            });
        }
        said.values.retain(|(key, _)| self.all(key).is_empty());
        self.values.append(&mut said.values);
        Ok(())
    }

    /// The value of a key that has one.
    pub fn one(&self, key: &'static str) -> Result<Option<&Value>, Complaint> {
        match self.all(key) {
            [] => Ok(None),
            [value] => Ok(Some(value)),
            [_, second, ..] => Err(second.wrong("was said before, and can be said once only")),
        }
    }

    /// The values of a key, in their order.
    pub fn all(&self, key: &'static str) -> &[Value] {
        let held = self.values.iter().find(|(held, _)| *held == key);
        held.map_or(&[], |(_, values)| values)
    }
}

/// A file's text, if it is of a size that such a file can have.
pub fn read(path: &Path) -> Result<String, Complaint> {
    let wrong = |why: &dyn fmt::Display| {
        Complaint::about(path.display().to_string(), format!("can't be read: {why}"))
    };
    let size = std::fs::metadata(path)
        .map_err(|error| wrong(&error))?
        .len();
    if size > LIMIT {
        return Err(wrong(&"it is larger than 1 MiB"));
    }
    std::fs::read_to_string(path).map_err(|error| wrong(&error))
}

type Pairs = Vec<(String, String, usize)>;

/// The pairs of a flat document: key, value, line. An array is several pairs, an empty one none.
fn pairs(text: &str) -> Result<Pairs, (usize, String)> {
    let source = Source::new(text);
    let tokens = source.lex().into_vec();
    let mut wrong: Option<ParseError> = None;
    let mut events = Vec::new();
    parse_document(&tokens, &mut |event: Event| events.push(event), &mut wrong);
    let mut found = Pairs::new();
    let mut key = String::new();
    for event in events {
        let span = event.span();
        let line = line(text, span.start());
        let mut decoded = std::borrow::Cow::Borrowed("");
        match event.kind() {
            EventKind::SimpleKey => {
                if let Some(raw) = source.get(event) {
                    raw.decode_key(&mut decoded, &mut wrong);
                    key = decoded.into_owned();
                }
                if found.iter().any(|(known, ..)| *known == key) {
                    return Err((line, format!("{key} was said before")));
                }
            }
            EventKind::Scalar => {
                if let Some(raw) = source.get(event) {
                    // Whatever kind it is, its text is what a flag would be given.
                    let _ = raw.decode_scalar(&mut decoded, &mut wrong);
                    found.push((key.clone(), decoded.into_owned(), line));
                }
            }
            EventKind::StdTableOpen
            | EventKind::ArrayTableOpen
            | EventKind::InlineTableOpen
            | EventKind::KeySep => {
                return Err((
                    line,
                    "there are no tables here, only KEY = VALUE".to_owned(),
                ));
            }
            _ => {}
        }
    }
    match wrong {
        None => Ok(found),
        Some(error) => {
            let at = error.unexpected().or(error.context());
            let line = line(text, at.map_or(0, |span| span.start()));
            Err((line, error.description().to_owned()))
        }
    }
}

fn line(text: &str, at: usize) -> usize {
    let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 3] = ["server", "listen", "flash-cap"];

    fn read_text(name: &str, text: &str) -> Result<Settings, Complaint> {
        let path = std::env::temp_dir().join(format!("toono-{name}-{}.toml", std::process::id()));
        std::fs::write(&path, text).expect("a temporary file");
        let mut settings = Settings::default();
        settings.flag("listen", "127.0.0.1:1");
        let read = settings.read(&path, &KEYS);
        std::fs::remove_file(&path).expect("it is there");
        read.map(|()| settings)
    }

    #[test]
    fn a_file_says_what_flags_can_say_and_flags_win() {
        let text = "# the cloud\nserver = [\"https://a\", 'https://b']\nlisten = \"0.0.0.0:1\"\nflash-cap = 16 # MB\n";
        let settings = read_text("right", text).expect("right");
        let texts = |key| -> Vec<&str> {
            let values = settings.all(key).iter();
            values.map(|value| value.text.as_str()).collect()
        };
        assert_eq!(texts("server"), ["https://a", "https://b"]);
        assert_eq!(texts("listen"), ["127.0.0.1:1"]);
        assert_eq!(texts("flash-cap"), ["16"]);
        let cap = settings.one("flash-cap").expect("once").expect("said");
        let complaint = cap.wrong("must be more").to_string();
        assert!(
            complaint.ends_with(".toml:4: flash-cap \"16\": must be more"),
            "{complaint}"
        );
        let twice = settings.one("server").expect_err("twice").to_string();
        assert!(
            twice.ends_with("server \"https://b\": was said before, and can be said once only")
        );
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_with_its_line() {
        for (name, text, end) in [
            (
                "key",
                "\nports = 1\n",
                ":2: ports: there is no such key; there are server, listen, flash-cap",
            ),
            (
                "twice",
                "server = 'a'\nserver = 'b'\n",
                ":2: is not TOML: server was said before",
            ),
            (
                "table",
                "[server]\n",
                ":1: is not TOML: there are no tables here, only KEY = VALUE",
            ),
            (
                "dotted",
                "server.a = 1\n",
                ":1: is not TOML: there are no tables here, only KEY = VALUE",
            ),
        ] {
            let complaint = read_text(name, text).expect_err(name).to_string();
            assert!(complaint.ends_with(end), "{complaint}");
        }
        for (name, text) in [
            ("open", "server = \"a\n"),
            ("bare", "server\n"),
            ("value", "server = a b\n"),
        ] {
            let complaint = read_text(name, text).expect_err(name).to_string();
            assert!(complaint.contains(".toml:1: is not TOML: "), "{complaint}");
        }
        let mut settings = Settings::default();
        let absent = settings
            .read(Path::new("no-such-file"), &KEYS)
            .expect_err("absent");
        assert!(
            absent
                .to_string()
                .starts_with("no-such-file: can't be read: ")
        );
    }
}
