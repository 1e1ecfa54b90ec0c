//! The cases of lists, watches and gets, for clients that read JSON.
#![allow(clippy::duplicate_mod)] // Each file stands once for each encoding.

use super::*;
use crate::agent;
use crate::support::apiserver::Options;

#[path = "cut.rs"]
mod cut;
#[path = "filtering.rs"]
mod filtering;
#[path = "forms.rs"]
mod forms;
#[path = "home.rs"]
mod home;
#[path = "offline.rs"]
mod offline;
#[path = "online.rs"]
mod online;
#[path = "robust.rs"]
mod robust;
#[path = "start.rs"]
mod start;
#[path = "unknown.rs"]
mod unknown;

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
