//! Which random programs are tried, and what is said of them: what the tests that have a
//! model have in common.
//!
//! `tests/random_programs.sh` sets the variables, and reads the last line.

use std::fs::File;
use std::io::Write;

/// The seeds that are to be tried, and what came of them.
pub struct Seeds {
    next: u64,
    end: u64,
    most_faults: u64,
    with: Vec<String>,
    without: Vec<String>,
    /// Where the seed is noted that is being tried: of one that kills the process.
    at: Option<File>,
    /// A number made of all that the programs have said, if it is asked for.
    said: Option<u64>,
    pub tried: u64,
    pub reordered: u64,
    pub unanswered: u64,
    pub faults: u64,
}

impl Seeds {
    /// So many, unless the environment says otherwise.
    pub fn new(programs: u64) -> Seeds {
        let text = |name| std::env::var(name).unwrap_or_default();
        let number = |name| text(name).parse::<u64>().ok();
        let words = |name| text(name).split_whitespace().map(str::to_owned).collect();
        let first = number("HEARKEN_FIRST_SEED").unwrap_or(0);
        Seeds {
            next: first,
            end: first + number("HEARKEN_SEEDS").unwrap_or(programs),
            most_faults: number("HEARKEN_FAULTS").unwrap_or(1),
            with: words("HEARKEN_WITH"),
            without: words("HEARKEN_WITHOUT"),
            at: std::env::var_os("HEARKEN_AT").map(|path| {
                File::create(&path).unwrap_or_else(|error| panic!("creating {path:?}: {error}"))
            }),
            said: (text("HEARKEN_HASH") == "1").then_some(0xcbf2_9ce4_8422_2325),
            tried: 0,
            reordered: 0,
            unanswered: 0,
            faults: 0,
        }
    }

    /// The next one, unless there have been too many faults.
    pub fn next(&mut self) -> Option<u64> {
        if self.next == self.end || self.faults >= self.most_faults {
            return None;
        }
        let seed = self.next;
        self.next += 1;
        if let Some(at) = &mut self.at {
            // One call of the system: two would cost as much as a small program.
            at.write_all(format!("{seed}\n").as_bytes()).expect("writing the file of HEARKEN_AT");
        }
        Some(seed)
    }

    /// Whether a program is wanted, which says this of itself. It counts then.
    pub fn wants(&mut self, program: impl Fn() -> String) -> bool {
        if !(self.with.is_empty() && self.without.is_empty()) {
            let program = program();
            let has = |word: &String| program.contains(word.as_str());
            if self.without.iter().any(has) || !self.with.iter().all(has) {
                return false;
            }
        }
        self.tried += 1;
        true
    }

    /// Takes note of what a program has said (FNV-1a: Fowler, Noll and Vo).
    #[allow(dead_code)] // not every model does
    pub fn note(&mut self, log: impl FnOnce() -> String) {
        if let Some(said) = &mut self.said {
            for byte in log().bytes() {
                *said = (*said ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
            }
        }
    }

    /// Prints the figures.
    ///
    /// # Panics
    ///
    /// If there were faults.
    pub fn close(self) {
        let Seeds { tried, reordered, unanswered, faults, said, .. } = self;
        if let Some(said) = said {
            println!("what they said: {said:016x}");
        }
        println!(
            "programs: {tried} tried, {reordered} in another order, \
             {unanswered} without one answer, {faults} faults"
        );
        assert!(faults == 0, "{faults} of {tried} programs do not do what the model says");
    }
}

/// Says how to try this one alone.
pub fn print_seed(seed: u64, test: &str, kind: &str) {
    // Its thread has the name of the test, unless all run on the main thread: then the seed
    // is run as every kind.
    let thread = std::thread::current();
    let name = thread.name().filter(|name| *name != "main");
    let only = name.map(|name| format!(" -- --exact {name}")).unwrap_or_default();
    println!("seed {seed} ({kind}); this one alone, from the folder of the package:");
    println!("    HEARKEN_FIRST_SEED={seed} HEARKEN_SEEDS=1 cargo test --test {test}{only}");
}
