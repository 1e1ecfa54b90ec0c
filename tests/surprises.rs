//! What surprises in OpenYurt's YurtHub, versions 1.2.2 and 1.7.0, each as a test that this agent does it right. A name is
//! `p`, the surprise's number in the measurements of peers, and what is right; `surprises/BENCH.md` lists those that are
//! figures only, `surprises/LATER.md` those that can't be shown yet.

mod cut;
mod flash;
mod line;
mod offline;

use std::collections::BTreeMap;

use crate::Scene;
use crate::support::cable::Mode;

/// A power cycle without a line; returns when the doors are open.
fn reboot(scene: &mut Scene) {
    scene.kill();
    scene.cut(Mode::Refuse);
    scene.start();
}

#[test]
fn every_surprise_is_a_test_a_figure_or_stands_in_the_list_of_later_ones() {
    let sources = [
        include_str!("surprises/cut.rs"),
        include_str!("surprises/flash.rs"),
        include_str!("surprises/line.rs"),
        include_str!("surprises/offline.rs"),
    ];
    let tests = sources
        .iter()
        .flat_map(|source| source.split("#[test]\n").skip(1))
        .filter_map(|test| test.split_once("fn p")?.1.split('_').next()?.parse().ok());
    let lists = [
        include_str!("surprises/BENCH.md"),
        include_str!("surprises/LATER.md"),
    ];
    let rows = lists
        .iter()
        .flat_map(|list| list.lines())
        .filter_map(|row| row.strip_prefix("| ")?.split(' ').next()?.parse().ok());
    let mut times: BTreeMap<u32, usize> = BTreeMap::new();
    for surprise in tests.chain(rows) {
        *times.entry(surprise).or_default() += 1;
    }
    assert_eq!(times, (1..=25).map(|surprise| (surprise, 1)).collect());
}
