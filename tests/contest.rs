//! The cases of the 2022 edge-proxy contest and what its published entry left out, one test a case.

mod json;
mod protobuf;

use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::object;
use crate::support::scene::Scene;

/// The path of the contest's collection.
pub(crate) const PATH: &str = "/api/v1/namespaces/contest/configmaps";

/// The two-label selector that the contest's benchmark asks with.
pub(crate) fn selected(test: &str) -> String {
    format!("{PATH}?labelSelector=cloud-native-challenge%3Dbenchmark%2Ctype%3D{test}")
}

/// Makes `count` objects as the benchmark does; with `skips`, the odd ones are named `skip-…`.
pub(crate) fn fill(scene: &Scene, test: &str, count: usize, skips: bool) {
    for n in 0..count {
        let skip = if skips && n % 2 == 1 { "skip-" } else { "" };
        let name = format!("{skip}benchmark-{test}-{n}");
        scene.server.put(
            &CONFIGMAPS,
            object::contest_configmap("contest", &name, test, n),
        );
    }
}

/// The names that a client should see of them, sorted as lists are.
pub(crate) fn names(test: &str, count: usize, skips: bool) -> Vec<String> {
    let step = if skips { 2 } else { 1 };
    let mut names: Vec<String> = (0..count)
        .step_by(step)
        .map(|n| format!("benchmark-{test}-{n}"))
        .collect();
    names.sort();
    names
}
