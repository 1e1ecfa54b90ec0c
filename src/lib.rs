//! toono: the Kubernetes hub for a small edge node.
//!
//! `toono agent` stands between a node's components and a kube-apiserver. It forwards what they ask, filters lists and
//! watches, mirrors them to flash, and, when the line is cut or the node boots without it, answers as the API server
//! would.
//!
//! # Floors
//!
//! One directory is one floor; imports point down only, and on `rule`, `state` and `role` siblings do not import each
//! other. `tests/floors.rs` reads the imports and fails by name.
//!
//! | floor | holds | must not |
//! |---|---|---|
//! | [`k8s`] | the words: resource, object key, version, selector, collection, encoding, status; and their order | do anything |
//! | [`wire`] | codecs: request, media types, JSON, protobuf, list, watch, flash records | I/O, async, a clock |
//! | [`rule`] | decisions: route, health, filter, retention, writes, endpoints, window, respawn | I/O, async, a clock |
//! | [`io`] | drivers: net, TLS, HTTP, flash, worker, process, kernel, supervision, syslog | know Kubernetes |
//! | [`state`] | what the node holds: the mirror, the upstream | know who asks |
//! | [`role`] | jobs: the agent | know flags and files |
//! | [`shell`] | the process: command line, configuration, start, logger, admin, app | |
#![forbid(unsafe_code)]

/// Words: plain data, no I/O, no async, no clock.
pub mod k8s {
    pub mod collection;
    pub mod encoding;
    pub mod object;
    pub mod order;
    pub mod resource;
    pub mod selector;
    pub mod status;
}

/// Codecs: bytes to words and back; push parsers; no I/O.
pub mod wire {
    mod buffer;
    pub mod endpointslice;
    pub mod error;
    pub mod field;
    pub mod json;
    pub mod list;
    pub mod media;
    pub mod object;
    pub mod podstatus;
    pub mod protobuf;
    pub mod record;
    pub mod request;
    pub mod status;
    pub mod token;
    pub mod watch;
}

/// Decisions: pure functions and step machines; `now` is an argument.
pub mod rule {
    pub mod backoff;
    pub mod endpoint;
    pub mod filter;
    pub mod health;
    pub mod respawn;
    pub mod retention;
    pub mod route;
    pub mod window;
    pub mod write;
}

/// Drivers: one kind of I/O each; they know no Kubernetes.
pub mod io {
    pub mod account;
    pub mod boot;
    pub mod crypto;
    pub mod flash;
    pub mod gzip;
    pub mod http;
    pub mod kernel;
    pub mod latest;
    pub mod net;
    pub mod notify;
    pub mod process;
    pub mod seal;
    pub mod signal;
    pub mod supervise;
    pub mod syslog;
    pub mod tls;
    pub mod worker;
}

/// What the node holds: one owner each.
pub mod state {
    pub mod mirror;
    pub mod upstream;
}

/// Jobs.
pub mod role {
    pub mod agent;
}

/// The process.
pub mod shell {
    pub mod admin;
    pub mod app;
    pub mod cli;
    pub mod config;
    pub mod exit;
    pub mod flags;
    pub mod folder;
    pub mod kubeconfig;
    pub mod logger;
    pub mod report;
    pub mod settings;
    pub mod start;
    pub mod wait;
}
