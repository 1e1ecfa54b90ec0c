//! One watch of the fake server: lines from the history as they come, bookmarks, and a punctual end.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use smol::Timer;
use smol::channel::Sender;
use smol::future::or;

use super::Shared;
use super::answer::WatchPlan;
use super::answer::bookmark;
use super::answer::failure;
use super::answer::metadata_of;
use super::answer::table_row;
use super::store::line;

/// Feeds one watch until it ends or its reader is gone.
pub async fn run(shared: Arc<Shared>, plan: WatchPlan, lines: Sender<String>) {
    // A closed channel is a reader that left: the watch is over.
    let _ = feed(&shared, &plan, &lines).await;
}

async fn feed(
    shared: &Shared,
    plan: &WatchPlan,
    lines: &Sender<String>,
) -> Result<(), smol::channel::SendError<String>> {
    for batch in batches(plan, plan.first.clone()) {
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
                let text = String::from_utf8_lossy(&status.body).trim_end().to_string();
                lines.send(line("ERROR", &text)).await?;
            }
            return Ok(());
        }
        let (events, version) = events.unwrap_or_default();
        for batch in batches(plan, events) {
            lines.send(batch).await?;
        }
        position = position.max(version);
        let now = Instant::now();
        if plan.bookmarks && (now >= next_bookmark || now >= deadline) {
            lines
                .send(bookmark(plan.filter.kind, position, false))
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

/// Lines joined to pieces of some size, wrapped in Tables if the client wants those.
fn batches(plan: &WatchPlan, lines: Vec<String>) -> Vec<String> {
    let mut batches: Vec<String> = Vec::new();
    for line in lines {
        let line = match plan {
            WatchPlan { table: true, .. } => changed(&line, |object| Some(table_row(object))),
            WatchPlan { partial: true, .. } => changed(&line, |object| {
                metadata_of(object).map(|meta| meta.to_string())
            }),
            _ => line,
        };
        match batches.last_mut() {
            Some(batch) if batch.len() + line.len() <= 16 * 1024 => batch.push_str(&line),
            _ => batches.push(line),
        }
    }
    batches
}

/// The same event with another object in it; bookmarks and errors stay as they are.
fn changed(text: &str, other: impl Fn(&str) -> Option<String>) -> String {
    let parts = text
        .strip_prefix("{\"type\":\"")
        .and_then(|rest| rest.split_once("\",\"object\":"))
        .and_then(|(event, object)| Some((event, object.strip_suffix("}\n")?)));
    match parts {
        Some((event @ ("ADDED" | "MODIFIED" | "DELETED"), object)) => {
            other(object).map_or_else(|| text.into(), |object| line(event, &object))
        }
        _ => text.into(),
    }
}

/// What a container says while it is followed: its store's version, at first and at each change. It says so in JSON that
/// the raw client can read as it reads events.
pub async fn log(shared: Arc<Shared>, lines: Sender<String>) {
    loop {
        let (version, changed) = {
            let store = &shared.state().store;
            (store.version(), store.changed())
        };
        let said = line(
            "LINE",
            &format!("{{\"metadata\":{{\"resourceVersion\":\"{version}\"}}}}"),
        );
        if lines.send(said).await.is_err() {
            return;
        }
        let news = async {
            // Only ever closed, never sent to.
            let _ = changed.recv().await;
        };
        or(lines.closed(), news).await;
    }
}
