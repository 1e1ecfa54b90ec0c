//! The agent's bearer token, read again when its file changes.

use std::cell::RefCell;
use std::path::Path;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::io::http::HeaderValue;

/// Where the token stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// In a file, which may change: projected tokens live an hour.
    File(PathBuf),
    /// Here.
    Text(String),
}

/// A token and what was last read of it.
#[derive(Default)]
pub(super) struct Bearer {
    token: Option<Token>,
    last: RefCell<Option<Read>>,
}

/// A file as read, and its stamp.
struct Read {
    stamp: Option<(SystemTime, u64)>,
    value: Option<HeaderValue>,
}

impl Bearer {
    pub(super) fn new(token: Option<Token>) -> Self {
        Self {
            token,
            last: RefCell::default(),
        }
    }

    /// The value of `Authorization`.
    pub(super) fn value(&self) -> Option<HeaderValue> {
        match self.token.as_ref()? {
            Token::Text(text) => value(text)
                .map_err(|why| log::warn!("the token can't be sent: {why}"))
                .ok(),
            Token::File(path) => self.of_file(path),
        }
    }

    fn of_file(&self, path: &Path) -> Option<HeaderValue> {
        let stamp = std::fs::metadata(path)
            .and_then(|meta| Ok((meta.modified()?, meta.len())))
            .ok();
        let mut last = self.last.borrow_mut();
        if last.as_ref().is_none_or(|last| last.stamp != stamp) {
            let read = std::fs::read_to_string(path)
                .map_err(|error| error.to_string())
                .and_then(|text| value(&text));
            let value = match read {
                Ok(value) => Some(value),
                Err(why) => {
                    log::warn!("the token can't be read: {why} file={}", path.display());
                    // A file that is being replaced: the last token may well be good still.
                    last.take().and_then(|last| last.value)
                }
            };
            *last = Some(Read { stamp, value });
        }
        last.as_ref().and_then(|last| last.value.clone())
    }
}

fn value(text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", text.trim()))
        .map_err(|error| error.to_string())?;
    value.set_sensitive(true);
    Ok(value)
}
