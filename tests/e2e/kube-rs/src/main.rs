//! kube-rs' `watcher` on the config maps of a namespace, through whatever address it is given: every event is a line of JSON.
//!
//! Usage: kube-rs-peer http://HOST:PORT NAMESPACE list|stream. It runs until it is killed.

use std::io::Write;

use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Config};
use serde_json::{Value, json};

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(run());
}

async fn run() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [base, namespace, way] = args.as_slice() else {
        panic!("usage: kube-rs-peer http://HOST:PORT NAMESPACE list|stream");
    };
    let client =
        Client::try_from(Config::new(base.parse().expect("an address"))).expect("a client");
    let maps: Api<ConfigMap> = Api::namespaced(client, namespace);
    let config = match way.as_str() {
        "list" => watcher::Config::default(),
        "stream" => watcher::Config::default().streaming_lists(),
        _ => panic!("list or stream, not {way}"),
    };
    let events = watcher(maps, config).default_backoff();
    pin_mut!(events);
    while let Some(event) = events.next().await {
        say(match event {
            Ok(watcher::Event::Init) => json!({"type": "INIT"}),
            Ok(watcher::Event::InitApply(o)) => line("ITEM", &o),
            Ok(watcher::Event::InitDone) => json!({"type": "INITDONE"}),
            Ok(watcher::Event::Apply(o)) => line("APPLY", &o),
            Ok(watcher::Event::Delete(o)) => line("DELETED", &o),
            Err(e) => json!({"type": "ERROR", "text": format!("{e:?}")}),
        });
    }
    say(json!({"type": "ERROR", "text": "the watcher ended"}));
}

fn line(what: &str, object: &ConfigMap) -> Value {
    json!({"type": what, "object": object})
}

fn say(line: Value) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .expect("somebody who reads");
}
