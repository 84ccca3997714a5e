//! One parser of what comes from outside under libFuzzer; `SETTEE_TARGET` names it. See ../README.md.
#![no_main]

#[path = "../../tests/support/fuzz_targets.rs"]
mod fuzz_targets;

use std::sync::LazyLock;

use fuzz_targets::targets;
use libfuzzer_sys::fuzz_target;

static RUN: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("SETTEE_TARGET").unwrap_or_default();
    let target = targets().find(|target| target.name == name);
    let target = target.unwrap_or_else(|| panic!("SETTEE_TARGET is one of {:?}", names()));
    // With a folder for them, the seeds are written there first.
    if let Ok(folder) = std::env::var("SETTEE_SEEDS_TO") {
        for (at, seed) in (target.seeds)().into_iter().enumerate() {
            std::fs::write(format!("{folder}/seed-{at}"), seed).unwrap();
        }
        std::process::exit(0);
    }
    target.run
});

fn names() -> Vec<&'static str> {
    targets().map(|target| target.name).collect()
}

fuzz_target!(|bytes: &[u8]| RUN(bytes));
