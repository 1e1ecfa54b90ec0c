//! Memory against local watches on one collection, as rows and as a picture, `tests/bench/memory.svg`.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::client::Watch;
use crate::support::object;
use crate::support::scene::Memory;
use crate::support::scene::Program;
use crate::support::scene::Scene;
use crate::table;

/// How often a thousand come and go.
const ROUNDS: usize = 5;
const STEPS: [usize; 4] = [0, 100, 500, 1000];

/// Prints the rows and writes the picture.
pub(crate) fn run(path: &Path) {
    let scene = Scene::new(Program::new(path));
    let map = object::configmap("many", "one", &[], "x");
    scene.server.put(&CONFIGMAPS, map);
    scene.connected();
    let list = scene.client().list("/api/v1/namespaces/many/configmaps");
    let target = format!(
        "/api/v1/namespaces/many/configmaps?watch=true&resourceVersion={}",
        list.version()
    );
    let mut watches: Vec<Watch> = Vec::new();
    let mut bars: Vec<(String, Memory)> = Vec::new();
    for step in STEPS {
        while watches.len() < step {
            watches.push(scene.client().watching(&target));
        }
        std::thread::sleep(Duration::from_millis(300));
        bars.push((step.to_string(), scene.memory()));
    }
    let idle = scene.descriptors() - watches.len();
    watches.clear();
    scene.wait("the agent notices", || scene.descriptors() <= idle + 1);
    std::thread::sleep(Duration::from_secs(1));
    bars.push(("0 again".to_owned(), scene.memory()));
    let most = bars[3].1.resident;
    for (watches, memory) in &bars {
        let missed = match watches.as_str() {
            "1000" => table::over(memory.resident as f64, 20_000.0, "≤ 20 MB"),
            _ => String::new(),
        };
        table::own(
            &format!("local watches on one collection: {watches}: resident (of it anonymous)"),
            &format!("{} ({}) KB", memory.resident, memory.anonymous),
            &missed,
        );
    }
    // The same number again: what was kept is used again, or is lost.
    for round in 2..=ROUNDS {
        watches.extend((0..1000).map(|_| scene.client().watching(&target)));
        std::thread::sleep(Duration::from_millis(300));
        let memory = scene.memory();
        if round == 2 || round == ROUNDS {
            let more = memory.resident.saturating_sub(most) as f64;
            table::own(
                &format!("... 1000 for the {round}. time, all others left"),
                &format!("{} ({}) KB", memory.resident, memory.anonymous),
                &table::over(more, 1000.0, "all but 1 MB given back or reused"),
            );
            bars.push((format!("1000, {round}."), memory));
        }
        watches.clear();
        scene.wait("the agent notices", || scene.descriptors() <= idle + 1);
        std::thread::sleep(Duration::from_millis(500));
    }
    std::fs::write("tests/bench/memory.svg", picture(&bars)).expect("the package's own folder");
}

/// One bar each: anonymous memory below, pages of the file above.
fn picture(bars: &[(String, Memory)]) -> String {
    const LEFT: u64 = 60;
    const BOTTOM: u64 = 250;
    const HEIGHT: u64 = 210;
    const STEP: u64 = 80;
    let top = bars.iter().map(|(_, memory)| memory.resident).max();
    let megabytes = top.unwrap_or(0).div_ceil(5000) * 5;
    let scale = |kilobytes: u64| kilobytes * HEIGHT / (megabytes * 1000).max(1);
    let width = LEFT + bars.len() as u64 * STEP + 20;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} 300\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{width}\" height=\"300\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"20\">Resident memory (MB) against local watches; dark: anonymous</text>\n"
    );
    // Writing to a string does not fail.
    for line in (0..=megabytes).step_by(5) {
        let y = BOTTOM - scale(line * 1000);
        let (right, label) = (width - 20, LEFT - 8);
        let _ = writeln!(
            out,
            "<path d=\"M{LEFT} {y}H{right}\" stroke=\"#ccc\"/><text x=\"{label}\" y=\"{}\" text-anchor=\"end\">{line}</text>",
            y + 4
        );
    }
    for (at, (label, memory)) in (0_u64..).zip(bars) {
        let x = LEFT + at * STEP + 20;
        let (all, dark) = (scale(memory.resident), scale(memory.anonymous));
        let middle = x + 20;
        let _ = writeln!(
            out,
            "<rect x=\"{x}\" y=\"{}\" width=\"40\" height=\"{all}\" fill=\"#9bc\"/>\
             <rect x=\"{x}\" y=\"{}\" width=\"40\" height=\"{dark}\" fill=\"#357\"/>\n\
             <text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}.{}</text>\
             <text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
            BOTTOM - all,
            BOTTOM - dark,
            BOTTOM - all - 5,
            memory.resident / 1000,
            memory.resident % 1000 / 100,
            BOTTOM + 20,
        );
    }
    out.push_str("</svg>\n");
    out
}
