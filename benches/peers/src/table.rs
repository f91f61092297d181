//! Medians, the table, JSON.

use std::fmt::{self, Display, Formatter};

use crate::workloads::Workload;

/// Everything that was measured.
pub struct Table {
    /// Of the executors, in the order of [`Row::samples`].
    pub names: Vec<&'static str>,
    pub rows: Vec<Row>,
}

/// One workload.
pub struct Row {
    workload: Workload,
    /// Nanoseconds per operation: for each executor, one per round.
    ///
    /// None at all where the executor has nothing of the kind.
    pub samples: Vec<Vec<f64>>,
}

impl Row {
    pub fn new(workload: Workload, executors: usize) -> Self {
        Self { workload, samples: vec![Vec::new(); executors] }
    }

    fn medians(&self) -> Vec<Option<f64>> {
        self.samples.iter().map(|samples| median(samples)).collect()
    }
}

/// The middle one; of an even number, the mean of the two in the middle.
fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (half, odd) = (sorted.len() / 2, sorted.len() % 2 == 1);
    match (sorted.is_empty(), odd) {
        (true, _) => None,
        (_, true) => Some(sorted[half]),
        (_, false) => Some((sorted[half - 1] + sorted[half]) / 2.0),
    }
}

impl Table {
    /// The fastest of the others, and how many times its time hearken takes.
    ///
    /// `None` when one of the two is missing, as with `--peer`.
    fn fastest_peer(&self, row: &Row) -> Option<(&'static str, f64)> {
        let medians = row.medians();
        let timed = self.names.iter().zip(medians);
        let timed = timed.filter_map(|(name, median)| Some((*name, median?)));
        let (ours, peers): (Vec<_>, Vec<_>) = timed.partition(|(name, _)| *name == "hearken");
        let (name, time) = peers.into_iter().min_by(|a, b| a.1.total_cmp(&b.1))?;
        Some((name, ours.first()?.1 / time))
    }

    /// One object: the executors, and per workload all samples, in rounds.
    pub fn to_json(&self) -> String {
        // By hand: only names and numbers that need no escaping.
        let rows = self.rows.iter().map(|row| {
            let samples = self.names.iter().zip(&row.samples);
            let samples = samples.map(|(name, samples)| format!("\"{name}\": {samples:.1?}"));
            format!(
                "    {{\"workload\": \"{}\", \"samples\": {{{}}}}}",
                row.workload.name(),
                samples.collect::<Vec<_>>().join(", ")
            )
        });
        format!(
            "{{\n  \"unit\": \"nanoseconds per operation\",\n  \"rows\": [\n{}\n  ]\n}}\n",
            rows.collect::<Vec<_>>().join(",\n")
        )
    }
}

impl Display for Table {
    /// Columns are aligned: the first to the left, the others to the right.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut head = vec!["ns per operation".to_string()];
        head.extend(self.names.iter().map(|name| name.to_string()));
        head.extend(["ratio".to_string(), "to fastest peer".to_string()]);
        let mut lines = vec![head];
        for row in &self.rows {
            let mut line = vec![row.workload.name().to_string()];
            line.extend(row.medians().into_iter().map(nanos));
            let (name, ratio) = match self.fastest_peer(row) {
                Some((name, ratio)) => (name, format!("{ratio:.2}")),
                None => ("-", "-".to_string()),
            };
            line.extend([ratio, name.to_string()]);
            lines.push(line);
        }
        let mut widths = vec![0; lines[0].len()];
        for line in &lines {
            for (cell, width) in line.iter().zip(&mut widths) {
                *width = cell.len().max(*width);
            }
        }
        for line in lines {
            write!(f, "{:<width$}", line[0], width = widths[0])?;
            for (cell, width) in line.iter().zip(&widths).skip(1) {
                write!(f, "  {cell:>width$}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// With a decimal where it says something.
fn nanos(median: Option<f64>) -> String {
    match median {
        None => "-".to_string(),
        Some(nanos) if nanos < 100.0 => format!("{nanos:.1}"),
        Some(nanos) => format!("{nanos:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_middle_of_the_sorted() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[9.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
