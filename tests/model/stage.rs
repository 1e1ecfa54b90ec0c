//! What all threads of one run share: where the agent listens, the reference model, and the first thing that went wrong.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use super::form::Form;
use super::history::History;
use super::history::Selection;
use crate::support::apiserver::kind::Kind;
use crate::support::client::Answer;
use crate::support::client::Client;

/// No answer may take longer, and no client longer to have what the server has: then it hangs.
pub(crate) const HANGS: Duration = Duration::from_secs(30);
/// How many lines of what clients saw are kept for the report.
const KEPT: usize = 400;

/// The shared things.
pub(crate) struct Stage {
    /// The agent's door; the same through all its lives.
    pub(crate) door: SocketAddr,
    pub(crate) kind: &'static Kind,
    pub(crate) form: &'static Form,
    /// Locked while the server is changed, too.
    history: Mutex<History>,
    failure: Mutex<Option<String>>,
    journal: Mutex<(Instant, VecDeque<String>)>,
}

impl Stage {
    pub(crate) fn new(
        door: SocketAddr,
        kind: &'static Kind,
        form: &'static Form,
        history: History,
    ) -> Self {
        Self {
            door,
            kind,
            form,
            history: Mutex::new(history),
            failure: Mutex::new(None),
            journal: Mutex::new((Instant::now(), VecDeque::new())),
        }
    }

    /// The reference model.
    pub(crate) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is wrong; the first counts.
    pub(crate) fn fail(&self, what: String) {
        self.note(|| format!("FAILED {what}"));
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert(what);
    }

    /// What went wrong first.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Writes a line of the report.
    pub(crate) fn note(&self, line: impl FnOnce() -> String) {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        let at = journal.0.elapsed().as_millis();
        journal.1.push_back(format!("{at:6} {}", line()));
        if journal.1.len() > KEPT {
            journal.1.pop_front();
        }
    }

    /// The report.
    pub(crate) fn journal(&self) -> Vec<String> {
        let journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.1.iter().cloned().collect()
    }

    /// A client at the agent's door.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.door)
            .with("Accept", self.form.accept)
            .patient(HANGS)
    }

    /// The address of a selection's list.
    pub(crate) fn path(&self, selection: &Selection, options: &str) -> String {
        let kind = self.kind;
        let group = if kind.group.is_empty() {
            "/api".to_owned()
        } else {
            format!("/apis/{}", kind.group)
        };
        let namespace = selection
            .namespace
            .map_or(String::new(), |name| format!("/namespaces/{name}"));
        let mut query = vec![];
        query.extend((!options.is_empty()).then(|| options.to_owned()));
        query.extend(
            selection
                .name
                .map(|name| format!("fieldSelector=metadata.name%3D{name}")),
        );
        query.extend(selection.labelled.then(|| "labelSelector=k%3Dv".to_owned()));
        let query = query.join("&");
        let mark = if query.is_empty() { "" } else { "?" };
        format!(
            "{group}/{}{namespace}/{}{mark}{query}",
            kind.version, kind.resource
        )
    }

    /// Whether an answer other than 200 is one that a client can live with: a Status, of a code that tells it to come
    /// again or to begin anew. `Ok(true)`: its version is no good.
    pub(crate) fn refusal(&self, answer: &Answer) -> Result<bool, String> {
        let code = (self.form.code)(answer);
        if code != Some(u64::from(answer.status)) {
            return Err(format!(
                "{} without a Status: {:.300}",
                answer.status,
                String::from_utf8_lossy(&answer.body)
            ));
        }
        match answer.status {
            410 | 504 => Ok(true),
            429 | 500 | 502 | 503 => Ok(false),
            other => Err(format!(
                "{other}: {:.300}",
                String::from_utf8_lossy(&answer.body)
            )),
        }
    }
}
