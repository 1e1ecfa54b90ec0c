//! What a log needs beside being written and read: loading, syncing, closing.

use std::io::ErrorKind;
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
        // Not kept open: at the start many logs are looked at once.
        let file = match self.shared.flash.open(&self.file_name) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(self.lose(&mut state, error.into()));
            }
            Err(error) => return Err(error.into()),
        };
        let found = match recover::recover(&file) {
            Ok(found) => found,
            Err(error @ Error::Damaged { .. }) => return Err(self.lose(&mut state, error)),
            Err(error) => return Err(error),
        };
        if found.size > found.end {
            let cut = file.truncate(found.end).and_then(|()| file.sync_data());
            if let Err(error) = cut {
                ::log::warn!(
                    "mirror: collection={} can be read and not written: {error}",
                    self.name
                );
                state.read_only = true;
            }
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
        self.changed.notify();
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
        if let Err(error) = synced {
            // It may have thrown away what was to be written; trying again would say that it was written.
            (state.dirty, state.due) = (false, None);
            if !std::mem::replace(&mut state.unsound, true) {
                ::log::error!(
                    "mirror: collection={} is not safe on flash: {error}",
                    self.name
                );
                self.shared.work.notify();
            }
            return Err(error.into());
        }
        if !state.unsound {
            (state.synced, state.named) = (through, true);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::flash::memory::Memory;
    use crate::k8s::object::ResourceVersion;
    use crate::state::mirror::testing;
    use crate::state::mirror::testing::Clock;

    #[test]
    fn changes_are_synced_together_when_the_first_of_them_is_due() {
        smol::block_on(async {
            let (mirror, log) = testing::filled(&Memory::default(), 2, 10).await;
            log.set_sync_window(Duration::from_secs(30));
            let mut clock = Clock::new();
            let start = clock.0;
            let mut writer = log.writer().expect("free");
            for (second, syncs) in [(0, 0), (10, 0), (19, 0), (1, 1), (1, 1)] {
                let now = clock.after(second);
                if syncs == 0 {
                    testing::put(&mut writer, 1, 3 + (now - start).as_secs(), 10);
                }
                let next = mirror.tend(now).await;
                assert_eq!(mirror.stats().syncs, syncs);
                assert!(next.is_none_or(|next| next > now));
            }
        });
    }

    #[test]
    fn an_idle_log_writes_nothing_and_holds_no_descriptor() {
        smol::block_on(async {
            let flash = Memory::default();
            let (mirror, log) = testing::filled(&flash, 2, 10).await;
            let mut clock = Clock::new();
            mirror.tend(clock.after(1)).await;
            let operations = flash.operations();
            let mut next = mirror.tend(clock.0).await;
            assert!(log.state().file.is_some());
            while let Some(at) = next {
                clock.0 = at;
                next = mirror.tend(at).await;
            }
            assert!(log.state().file.is_none());
            assert_eq!(flash.operations(), operations);
            // Used again, it is open again.
            assert_eq!(
                testing::content(&log).expect("readable").map(|(v, _)| v),
                Some(2)
            );
            testing::put(&mut log.writer().expect("free"), 1, 3, 10);
            assert!(log.state().file.is_some());
            assert!(mirror.tend(clock.0).await.is_some());
        });
    }

    #[test]
    fn what_is_appended_during_a_sync_waits_for_the_next() {
        smol::block_on(async {
            let (mirror, log) = testing::filled(&Memory::default(), 2, 10).await;
            let mut sync = std::pin::pin!(log.sync());
            let busy = testing::busy_worker().await;
            assert!(smol::future::poll_once(&mut sync).await.is_none());
            testing::put(&mut log.writer().expect("free"), 1, 3, 10);
            drop(busy);
            sync.await.expect("synced");
            let known = || {
                let state = log.state();
                (state.dirty, state.synced < state.end)
            };
            assert_eq!(known(), (true, true));
            mirror.close().await.expect("synced");
            assert_eq!(known(), (false, false));
            assert_eq!(log.complete(), Some(ResourceVersion(3)));
        });
    }
}
