//! The file of counts, and how a count differs from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};
use std::fs;
use std::path::Path;

/// How far a count may be from the recorded one, in percent.
pub const TOLERANCE: f64 = 5.0;

/// What is recorded. The file has comments, and a line for each workload, in
/// the order of their names.
#[derive(Debug, Default, PartialEq)]
pub struct Record {
    /// The compiler, and for what it built.
    pub built_by: String,
    counts: BTreeMap<String, f64>,
}

/// What stands above the compiler's name.
const BUILT_BY: &str = "# built by ";

impl Record {
    /// # Errors
    ///
    /// If it cannot be read, or is no record.
    pub fn read(file: &Path) -> Result<Record, String> {
        let text = fs::read_to_string(file);
        let text = text.map_err(|error| format!("reading {}: {error}", file.display()))?;
        Record::parse(&text).map_err(|line| format!("{}: what is {line:?}?", file.display()))
    }

    /// # Errors
    ///
    /// If it cannot be written.
    pub fn write(&self, file: &Path) -> Result<(), String> {
        let written = fs::write(file, self.to_string());
        written.map_err(|error| format!("writing {}: {error}", file.display()))
    }

    /// The line that is wrong, if one is.
    fn parse(text: &str) -> Result<Record, &str> {
        let mut record = Record::default();
        for line in text.lines() {
            if let Some(built_by) = line.strip_prefix(BUILT_BY) {
                record.built_by = built_by.to_string();
            } else if !line.starts_with('#') {
                let (name, count) = line.split_once(' ').ok_or(line)?;
                let count = count.trim().parse().map_err(|_| line)?;
                record.counts.insert(name.to_string(), count);
            }
        }
        Ok(record)
    }

    pub fn get(&self, name: &str) -> Option<f64> {
        self.counts.get(name).copied()
    }

    pub fn set(&mut self, name: &str, count: f64) {
        self.counts.insert(name.to_string(), count);
    }

    /// Forgets workloads that there are no more.
    pub fn keep_only(&mut self, names: impl Iterator<Item = &'static str>) {
        let names: BTreeSet<&str> = names.collect();
        self.counts.retain(|name, _| names.contains(name.as_str()));
    }
}

impl Display for Record {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "# Instructions per operation, by callgrind; written by")?;
        writeln!(f, "#     cargo run --release -p hearken-instructions -- --record")?;
        writeln!(f, "{BUILT_BY}{}", self.built_by)?;
        for (name, count) in &self.counts {
            writeln!(f, "{name:<18} {count:>9.1}")?;
        }
        Ok(())
    }
}

/// How a count differs from the recorded one.
#[derive(Debug, PartialEq)]
pub enum Change {
    /// By [`TOLERANCE`] at most.
    Little,
    More {
        before: f64,
        percent: f64,
    },
    Fewer {
        before: f64,
        percent: f64,
    },
    Unrecorded,
}

impl Change {
    pub fn of(before: Option<f64>, now: f64) -> Change {
        let Some(before) = before else { return Change::Unrecorded };
        match Change::percent(before, now) {
            percent if percent > TOLERANCE => Change::More { before, percent },
            percent if percent < -TOLERANCE => Change::Fewer { before, percent: -percent },
            _ => Change::Little,
        }
    }

    /// How much more it is, in percent; less than 0 when it is less.
    pub fn percent(before: f64, now: f64) -> f64 {
        (now - before) / before * 100.0
    }
}

#[cfg(test)]
mod tests {
    use super::{Change, Record};

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let mut record = Record { built_by: "rustc 1.2.3".to_string(), ..Record::default() };
        record.set("yield_one", 12.3);
        record.set("chain", 4567.0);
        let text = record.to_string();
        assert_eq!(Record::parse(&text), Ok(record));
        let names = text.lines().filter_map(|line| line.split_once(' ')).map(|(name, _)| name);
        assert_eq!(names.filter(|name| *name != "#").collect::<Vec<_>>(), ["chain", "yield_one"]);
    }

    #[test]
    fn a_line_that_is_no_count_is_named() {
        assert_eq!(Record::parse("# a comment\nchain 12.0\nchain twelve"), Err("chain twelve"));
        assert_eq!(Record::parse("chain"), Err("chain"));
    }

    #[test]
    fn a_workload_that_there_is_no_more_is_forgotten() {
        let mut record = Record::parse("chain 1.0\ngone 2.0").unwrap();
        record.keep_only(["chain", "young"].into_iter());
        assert_eq!((record.get("chain"), record.get("gone")), (Some(1.0), None));
    }

    #[test]
    fn five_percent_are_little_and_six_are_not() {
        assert_eq!(Change::of(Some(100.0), 105.0), Change::Little);
        assert_eq!(Change::of(Some(100.0), 95.0), Change::Little);
        let more = Change::of(Some(100.0), 106.0);
        assert!(matches!(more, Change::More { percent, .. } if percent.round() == 6.0));
        let fewer = Change::of(Some(100.0), 94.0);
        assert!(matches!(fewer, Change::Fewer { percent, .. } if percent.round() == 6.0));
        assert_eq!(Change::of(None, 1.0), Change::Unrecorded);
    }
}
