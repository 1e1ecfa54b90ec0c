//! The contest's cases, for clients that read JSON.
#![allow(clippy::duplicate_mod)] // Each file stands once for each encoding.

use super::*;
use crate::agent;
use crate::support::apiserver::Options;

#[path = "filter.rs"]
mod filter;
#[path = "load.rs"]
mod load;
#[path = "offline.rs"]
mod offline;
#[path = "online.rs"]
mod online;

/// Whether clients are answered in protobuf here.
const PROTOBUF: bool = false;

/// The scene with clients of this encoding.
fn dressed(scene: Scene) -> Scene {
    scene
}

/// A scene with the agent that was built for these tests.
fn scene() -> Scene {
    dressed(crate::scene())
}

/// A scene with a server of `options` and an agent with `extra` arguments.
fn scene_with(options: Options, extra: &[&str]) -> Scene {
    dressed(Scene::with(agent(), options, extra))
}
