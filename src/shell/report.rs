//! The agent's report as Prometheus text and as JSON.

use std::fmt::Write;

use crate::k8s::status::quote;
use crate::role::agent::tally::ANSWERERS;
use crate::role::agent::tally::CAUSES;
use crate::role::agent::tally::Held;
use crate::role::agent::tally::Report;
use crate::role::agent::tally::VERBS;
use crate::rule::health::Health;

/// Prometheus' text format, version 0.0.4. Collections are not told apart: a node has hundreds of one object.
pub fn metrics(report: &Report, clients: usize, cap: u64) -> String {
    let mut out = String::new();
    let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, String)]| {
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "# HELP toono_{name} {help}\n# TYPE toono_{name} {kind}"
        );
        for (labels, value) in samples {
            let _ = writeln!(out, "toono_{name}{labels} {value}");
        }
    };
    let plain = |value: u64| [(String::new(), value.to_string())];
    let held = &report.collections;
    let up = u64::from(report.health == Health::Healthy);
    family(
        "line_up",
        "gauge",
        "Whether an API server can be reached.",
        &plain(up),
    );
    // Written by hand: a device has no other use for the code that prints floats.
    let cut = format!("{}.{:03}", report.cut.as_secs(), report.cut.subsec_millis());
    family(
        "line_cut_seconds_total",
        "counter",
        "How long no API server could be reached.",
        &[(String::new(), cut)],
    );
    family(
        "line_bytes_total",
        "counter",
        "TCP payload that crossed the line.",
        &[
            (
                "{direction=\"received\"}".into(),
                report.received.to_string(),
            ),
            ("{direction=\"sent\"}".into(), report.sent.to_string()),
        ],
    );
    family(
        "line_connections_total",
        "counter",
        "Connections made to API servers.",
        &plain(report.connections.into()),
    );
    let requests: Vec<_> = VERBS
        .iter()
        .zip(report.requests)
        .flat_map(|(verb, row)| {
            ANSWERERS.iter().zip(row).map(move |(by, count)| {
                (
                    format!("{{verb=\"{verb}\",by=\"{by}\"}}"),
                    count.to_string(),
                )
            })
        })
        .collect();
    family(
        "requests_total",
        "counter",
        "Requests of clients, by who answered.",
        &requests,
    );
    let relists: Vec<_> = CAUSES
        .iter()
        .zip(report.relists)
        .map(|(cause, count)| (format!("{{cause=\"{cause}\"}}"), count.to_string()))
        .collect();
    family(
        "relists_total",
        "counter",
        "Lists that the agent itself asked for.",
        &relists,
    );
    let readers: usize = held.iter().map(|held| held.readers).sum();
    let live = held.iter().filter(|held| held.live).count();
    family(
        "local_watches",
        "gauge",
        "Watches of clients that the mirror feeds.",
        &plain(readers as u64),
    );
    family(
        "upstream_watches",
        "gauge",
        "Watches that feed the mirror.",
        &plain(live as u64),
    );
    family(
        "clients",
        "gauge",
        "Connections of clients.",
        &plain(clients as u64),
    );
    let mirror = &report.mirror;
    family(
        "mirror_collections",
        "gauge",
        "Collections held.",
        &plain(mirror.collections as u64),
    );
    family(
        "mirror_objects",
        "gauge",
        "Objects in collections that were used since the start.",
        &plain(mirror.objects as u64),
    );
    family(
        "mirror_bytes",
        "gauge",
        "Bytes of the mirror's files.",
        &plain(mirror.file_bytes),
    );
    family(
        "mirror_cap_bytes",
        "gauge",
        "Bytes that the mirror's files may have.",
        &plain(cap),
    );
    family(
        "mirror_failing_collections",
        "gauge",
        "Collections that can't be written, or are not safe on flash.",
        &plain(mirror.failing as u64),
    );
    family(
        "mirror_evictions_total",
        "counter",
        "Collections that had to leave for others.",
        &plain(mirror.evicted),
    );
    family(
        "tokens",
        "gauge",
        "Tokens of service accounts that would be given out while cut off.",
        &plain(report.tokens.held as u64),
    );
    family(
        "tokens_expired",
        "gauge",
        "Those of them whose life is over.",
        &plain(report.tokens.expired as u64),
    );
    let oldest = held.iter().filter_map(|held| held.age).max();
    family(
        "mirror_age_seconds",
        "gauge",
        "The age of what is oldest in the mirror.",
        &plain(oldest.unwrap_or_default().as_secs()),
    );
    family(
        "flash_written_bytes_total",
        "counter",
        "Bytes written to flash, before the file system's own.",
        &plain(mirror.written_bytes),
    );
    family(
        "flash_syncs_total",
        "counter",
        "Syncs of files.",
        &plain(mirror.syncs),
    );
    out
}

/// One JSON object, for people and scripts.
pub fn status(
    report: &Report,
    node: &str,
    clients: usize,
    cap: u64,
    volatile: Option<&str>,
) -> String {
    let text = |value: &str| {
        let mut out = String::new();
        quote(value, &mut out);
        out
    };
    let health = match report.health {
        Health::Starting => "starting",
        Health::Healthy => "healthy",
        Health::Unhealthy => "unhealthy",
    };
    let collections: Vec<String> = report
        .collections
        .iter()
        .map(|held| collection(held, &text(&held.name)))
        .collect();
    let mirror = &report.mirror;
    format!(
        "{{\"version\":{},\"node\":{},\"line\":{{\"server\":{},\"health\":\"{health}\",\"cutSeconds\":{},\"receivedBytes\":{},\
         \"sentBytes\":{},\"connections\":{}}},\"clients\":{clients},\"tokens\":{{\"held\":{},\"expired\":{}}},\"mirror\":{{\"bytes\":{},\"capBytes\":{cap},\
         \"writtenBytes\":{},\"syncs\":{},\"evicted\":{},\"failing\":{},\"volatile\":{},\"collections\":[{}]}}}}\n",
        text(env!("CARGO_PKG_VERSION")),
        text(node),
        text(&report.server),
        report.cut.as_secs(),
        report.received,
        report.sent,
        report.connections,
        report.tokens.held,
        report.tokens.expired,
        mirror.file_bytes,
        mirror.written_bytes,
        mirror.syncs,
        mirror.evicted,
        mirror.failing,
        volatile.map_or("null".to_owned(), text),
        collections.join(",")
    )
}

fn collection(held: &Held, name: &str) -> String {
    let or_null = |value: Option<String>| value.unwrap_or_else(|| "null".to_owned());
    format!(
        "{{\"name\":{name},\"resourceVersion\":{},\"objects\":{},\"bytes\":{},\"ageSeconds\":{},\"live\":{},\"watches\":{}}}",
        or_null(held.complete.map(|version| format!("\"{version}\""))),
        held.objects,
        held.bytes,
        or_null(held.age.map(|age| age.as_secs().to_string())),
        held.live,
        held.readers
    )
}
