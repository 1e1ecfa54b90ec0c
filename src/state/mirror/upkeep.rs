//! What a log needs beside being written and read: loading, syncing, closing.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use crate::io::worker;
use crate::state::mirror::Error;
use crate::state::mirror::log::Log;
use crate::state::mirror::recover;
use crate::wire::record;
use crate::wire::record::Record;

/// How long a file may stay open without being used; it is closed at the second look that finds it unused.
const IDLE: Duration = Duration::from_secs(5);

impl Log {
    /// Reads the file if it was not read yet. What was not committed is cut off, and the cut is synced: nothing of it
    /// may come back behind what is written next.
    pub(crate) fn load(&self) -> Result<(), Error> {
        let mut state = self.state.borrow_mut();
        if state.loaded || state.gone {
            return Ok(());
        }
        let file = self.file(&mut state)?;
        let found = match recover::recover(&file) {
            Ok(found) => found,
            Err(error @ Error::Damaged { .. }) => return Err(self.lose(&mut state, error)),
            Err(error) => return Err(error),
        };
        if found.size > found.end {
            let cut = file.truncate(found.end).and_then(|()| file.sync_data());
            cut.map_err(|error| self.lose(&mut state, error.into()))?;
        }
        (state.loaded, state.end, state.index) = (true, found.end, found.index);
        (state.complete, state.listed) = (found.complete, found.listed);
        (state.type_meta, state.fresh) = (found.type_meta, found.fresh);
        Ok(())
    }

    /// Writes the version that was only remembered.
    pub(crate) fn write_ahead(&self) -> Result<(), Error> {
        let mut state = self.state.borrow_mut();
        let Some(version) = state.ahead.filter(|ahead| state.complete < Some(*ahead)) else {
            return Ok(());
        };
        // A list that is being taken in will say a later version, or none.
        if state.complete.is_none() || state.staged {
            return Ok(());
        }
        let mut frames = Vec::new();
        self.mark(&state, &mut frames)?;
        record::append(&mut frames, &Record::Complete { version, check: 0 })?;
        self.append(&mut state, &frames)?;
        state.marked = state.synced;
        state.complete = Some(version);
        drop(state);
        self.changed.tick();
        Ok(())
    }

    /// Syncs if it is due; else when it will be.
    pub(crate) async fn sync_if_due(&self, now: Instant) -> Option<Instant> {
        {
            let mut state = self.state.borrow_mut();
            if !state.dirty {
                return None;
            }
            let window = state.sync_window;
            let due = *state.due.get_or_insert_with(|| now + window);
            if due > now {
                return Some(due);
            }
        }
        // An error has been said and the log is gone.
        drop(self.sync().await);
        let mut state = self.state.borrow_mut();
        if !state.dirty {
            return None;
        }
        let due = now + state.sync_window;
        state.due = Some(due);
        Some(due)
    }

    /// Syncs what is committed, on the worker.
    pub(crate) async fn sync(&self) -> Result<(), Error> {
        let (file, through, generation, named) = {
            let mut state = self.state.borrow_mut();
            if !state.dirty {
                return Ok(());
            }
            let file = self.file(&mut state)?;
            (file, state.end, state.generation, state.named)
        };
        let flash = Arc::clone(&self.shared.flash);
        let synced = worker::run(move || {
            file.sync_data()?;
            if named { Ok(()) } else { flash.sync_dir() }
        });
        let synced = synced.await;
        self.shared
            .syncs
            .set(self.shared.syncs.get().wrapping_add(1));
        let mut state = self.state.borrow_mut();
        if state.generation != generation {
            return Ok(());
        }
        // A failed sync may have thrown away what was to be written; trying again would say that it was.
        synced.map_err(|error| self.lose(&mut state, error.into()))?;
        (state.synced, state.named) = (through, true);
        // What was appended meanwhile waits for its own turn.
        (state.dirty, state.due) = (state.end > through, None);
        Ok(())
    }

    /// Closes the file if it was not used for a while; else when to look again.
    pub(crate) fn close_if_idle(&self, now: Instant) -> Option<Instant> {
        let mut state = self.state.borrow_mut();
        state.file.as_ref()?;
        let used = std::mem::replace(&mut state.used, false);
        let again = match state.idle {
            Some(idle) if !used && idle <= now => {
                if !state.dirty && !state.staged {
                    (state.file, state.idle) = (None, None);
                    return None;
                }
                now + IDLE
            }
            Some(idle) if !used => idle,
            _ => now + IDLE,
        };
        state.idle = Some(again);
        Some(again)
    }
}
