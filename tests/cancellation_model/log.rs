//! What a program said, and when.

use crate::program::Moment;
use std::collections::BTreeMap;
use std::fmt;

/// Lines, each with its moment and the label of the step that said it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    lines: Vec<(Moment, u32, String)>,
}

impl Log {
    pub fn say(&mut self, now: Moment, label: u32, what: impl Into<String>) {
        self.lines.push((now, label, what.into()));
    }

    /// Sorted within each moment: what happens at the same moment may happen in
    /// any order, as far as this test is concerned. So may the reason be any with
    /// which a task ends of which several requests were made.
    pub fn sorted(mut self) -> Log {
        for (_, _, what) in &mut self.lines {
            if what.starts_with("was cancelled: ") {
                what.truncate("was cancelled".len());
            }
        }
        self.lines.sort();
        self
    }

    pub fn has(&self, now: Moment, label: u32, what: &str) -> bool {
        self.lines.iter().any(|line| (line.0, line.1, &*line.2) == (now, label, what))
    }

    /// Whether a line that begins so was ever said.
    pub fn has_at_any_time(&self, label: u32, what: &str) -> bool {
        self.lines.iter().any(|line| line.1 == label && line.2.starts_with(what))
    }

    /// Both logs, side by side; a line that only one has is marked.
    pub fn beside(&self, other: &Log) -> String {
        let mut counts: BTreeMap<_, [usize; 2]> = BTreeMap::new();
        for (side, log) in [self, other].into_iter().enumerate() {
            for line in &log.lines {
                counts.entry(line.clone()).or_default()[side] += 1;
            }
        }
        let mut text = String::new();
        for ((now, label, what), [here, there]) in counts {
            let mark = match here.cmp(&there) {
                std::cmp::Ordering::Equal => "      ",
                std::cmp::Ordering::Greater => "MODEL ",
                std::cmp::Ordering::Less => "REAL  ",
            };
            text += &format!("{mark}{now:>6}  {label:>3} {what}\n");
        }
        text
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines
            .iter()
            .try_for_each(|(now, label, what)| writeln!(f, "{now:>6}  {label:>3} {what}"))
    }
}
