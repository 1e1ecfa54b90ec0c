//! The one integration binary: the real agent, as a process, between an embedded API server and a raw client.
#![allow(missing_docs)] // Test names say what they are for.

mod cases;
mod contest;
mod crash;
mod cut;
mod documents;
mod doors;
mod flash;
mod floors;
mod forms;
#[path = "fuzz/run.rs"]
mod fuzz;
mod homecoming;
mod hostile;
mod kubelet;
mod leaving;
mod lists;
mod live;
#[path = "model/run.rs"]
mod model;
mod operator;
mod process;
mod sealed;
mod servers;
mod support;
mod surprises;
mod tokens;
mod watches;
mod windows;

use support::scene::Program;
use support::scene::Scene;

/// A scene with the agent that was built for these tests.
fn scene() -> Scene {
    Scene::new(agent())
}

fn agent() -> Program {
    Program::new(env!("CARGO_BIN_EXE_toono"))
}

/// The agent, started behind these words of a shell: limits, traps.
fn agent_behind(words: &str) -> Program {
    let script = format!("{words}; exec \"$0\" \"$@\"");
    Program {
        path: "/bin/sh".into(),
        arguments: vec!["-c".to_owned(), script, agent().path.display().to_string()],
    }
}
