//! What a program said, line by line.

use crate::program::Moment;

/// The end of a line of the model where the library may say any reason.
pub const ANY: &str = "*";

/// Lines, each with its moment and the label of what said it.
#[derive(Clone, Debug, Default)]
pub struct Log {
    lines: Vec<Line>,
}

type Line = (Moment, u32, String);

impl Log {
    pub fn say(&mut self, now: Moment, label: u32, what: impl Into<String>) {
        self.lines.push((now, label, what.into()));
    }

    /// Whether this log of the model's allows that one.
    pub fn allows(&self, other: &Log) -> bool {
        let mut pairs = self.lines.iter().zip(&other.lines);
        self.lines.len() == other.lines.len() && pairs.all(|(here, there)| allows(here, there))
    }

    /// Both logs, side by side; what is different is marked.
    pub fn beside(&self, other: &Log) -> String {
        let text = |line: &Line| format!("{:>5} {:>3} {}", line.0, line.1, line.2);
        let mut both = String::new();
        for at in 0..self.lines.len().max(other.lines.len()) {
            let [here, there] = [self, other].map(|log| log.lines.get(at));
            let same = here.zip(there).is_some_and(|(here, there)| allows(here, there));
            let [here, there] = [here, there].map(|line| line.map(text).unwrap_or_default());
            both += &format!("{} {here:<60} | {there}\n", if same { " " } else { "≠" });
        }
        both
    }
}

fn allows(model: &Line, real: &Line) -> bool {
    let same = match model.2.strip_suffix(ANY) {
        Some(begin) => real.2.starts_with(begin),
        None => real.2 == model.2,
    };
    same && (model.0, model.1) == (real.0, real.1)
}
