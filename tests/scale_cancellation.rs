//! Many listeners and one request: all of them hear, whatever they are and
//! wherever they stand, and none is polled more often because there are others.
//!
//! Polls are counted here, among few enough for a debug build. What the executor
//! does between polls is counted in instructions, and up to a hundred thousand
//! listeners, by `cargo run --release -p hearken-instructions --bin listeners`,
//! with the same experiments.

#[path = "../benches/instructions/src/bin/listeners/experiments.rs"]
mod experiments;

use experiments::Experiment;

const FEW: usize = 100;
const MANY: usize = 1_000;

/// Whether every other listener is shielded, and all shields are through at the
/// same moment.
fn is_mixed(experiment: &Experiment) -> bool {
    let name = experiment.to_string();
    name.contains("-mixed-") && !name.ends_with("-apart")
}

/// A listener may be polled half as often again, as in instructions.
fn assert_linear(experiments: impl Iterator<Item = Experiment>) {
    for experiment in experiments {
        let each = |listeners| experiment.run(listeners) as f64 / listeners as f64;
        let (few, many) = (each(FEW), each(MANY));
        assert!(many <= few * 1.5, "{experiment}: {few} polls each, and among many {many}");
    }
}

// promise 4.3, 4.4, 4.8
#[test]
fn all_of_many_listeners_hear_and_none_is_polled_for_the_others() {
    assert_linear(Experiment::all().into_iter().filter(|experiment| !is_mixed(experiment)));
}

// promise 4.4, 4.5
#[test]
fn who_was_shielded_hears_though_those_beside_him_have_heard() {
    assert_linear(Experiment::all().into_iter().filter(is_mixed));
}
