//! One watch of the fake server: events from the history as they come, bookmarks, and a punctual end.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use smol::Timer;
use smol::channel::Sender;
use smol::future::or;

use super::Shared;
use super::answer::WatchPlan;
use super::answer::failure;
use super::store::line;

/// Feeds one watch until it ends or its reader is gone.
pub async fn run(shared: Arc<Shared>, plan: WatchPlan, lines: Sender<Vec<u8>>) {
    // A closed channel is a reader that left: the watch is over.
    let _ = feed(&shared, &plan, &lines).await;
}

async fn feed(
    shared: &Shared,
    plan: &WatchPlan,
    lines: &Sender<Vec<u8>>,
) -> Result<(), smol::channel::SendError<Vec<u8>>> {
    for batch in batches(plan.first.iter().cloned()) {
        lines.send(batch).await?;
    }
    if plan.ends {
        return Ok(());
    }
    let deadline = Instant::now() + plan.timeout;
    let period = shared.options.bookmark_period;
    let mut position = plan.after;
    let mut next_bookmark = Instant::now() + period;
    loop {
        let (ended, events, changed) = {
            let state = shared.state();
            let store = &state.store;
            let ended =
                (store.epoch() != plan.epoch).then_some((store.expired(), store.compacted()));
            let events = store.events_after(&plan.filter, position);
            (ended, events, store.changed())
        };
        if let Some((expired, compacted)) = ended {
            if expired {
                let message = format!("too old resource version: {position} ({compacted})");
                let status = failure(410, "Expired", &message, None);
                lines.send(plan.form.error(&status)).await?;
            }
            return Ok(());
        }
        let (events, version) = events.unwrap_or_default();
        for batch in batches(events.iter().map(|happened| plan.form.event(happened))) {
            lines.send(batch).await?;
        }
        position = position.max(version);
        let now = Instant::now();
        if plan.bookmarks && (now >= next_bookmark || now >= deadline) {
            lines
                .send(plan.form.bookmark(plan.filter.kind, position, false))
                .await?;
            next_bookmark = now + period;
        }
        if now >= deadline {
            return Ok(());
        }
        let wake = if plan.bookmarks {
            deadline.min(next_bookmark)
        } else {
            deadline
        };
        let timer = async {
            Timer::at(wake).await;
        };
        let news = async {
            // Only ever closed, never sent to.
            let _ = changed.recv().await;
        };
        or(lines.closed(), or(news, timer)).await;
        if lines.is_closed() {
            return Ok(());
        }
        if shared.options.watch_delay > Duration::ZERO {
            Timer::after(shared.options.watch_delay).await;
        }
    }
}

/// Events joined to pieces of some size.
fn batches(events: impl Iterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    let mut batches: Vec<Vec<u8>> = Vec::new();
    for event in events {
        match batches.last_mut() {
            Some(batch) if batch.len() + event.len() <= 16 * 1024 => batch.extend(event),
            _ => batches.push(event),
        }
    }
    batches
}

/// What a container says while it is followed: its store's version, at first and at each change. It says so in JSON that
/// the raw client can read as it reads events.
pub async fn log(shared: Arc<Shared>, lines: Sender<Vec<u8>>) {
    loop {
        let (version, changed) = {
            let store = &shared.state().store;
            (store.version(), store.changed())
        };
        let said = line(
            "LINE",
            &format!("{{\"metadata\":{{\"resourceVersion\":\"{version}\"}}}}"),
        );
        if lines.send(said.into_bytes()).await.is_err() {
            return;
        }
        let news = async {
            // Only ever closed, never sent to.
            let _ = changed.recv().await;
        };
        or(lines.closed(), news).await;
    }
}
