//! Medians, the tables, JSON.

use std::fmt::Write;

use crate::adapters::{Peer, Standing, version};
use crate::workloads::{PerOperation, Workload};

/// Everything that was measured.
pub struct Table {
    /// In the order of [`Row::samples`].
    pub peers: Vec<&'static Peer>,
    pub rows: Vec<Row>,
}

/// One workload.
pub struct Row {
    workload: Workload,
    /// Figures in the workload's unit: for each executor, one per round.
    ///
    /// None at all where the executor has nothing of the kind.
    pub samples: Vec<Vec<f64>>,
    /// For each executor, what an operation takes from the heap.
    pub heaps: Vec<Option<PerOperation>>,
}

impl Row {
    pub fn new(workload: Workload, executors: usize) -> Self {
        Self { workload, samples: vec![Vec::new(); executors], heaps: vec![None; executors] }
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
    /// The medians, and how hearken compares.
    pub fn times(&self) -> String {
        let mut head = vec!["per operation".to_string(), "unit".to_string()];
        head.extend(self.peers.iter().map(|peer| peer.name.to_string()));
        head.extend(["to fastest", "peer", "to floor"].map(String::from));
        let mut lines = vec![head];
        for row in &self.rows {
            let mut line = vec![row.workload.name().to_string(), row.workload.unit().name().into()];
            line.extend(row.medians().into_iter().map(figure));
            let peer = self.ratio(row, Standing::Peer);
            line.push(peer.map_or("-".into(), |(_, ratio)| format!("{ratio:.2}")));
            line.push(peer.map_or("-", |(name, _)| name).to_string());
            let floor = self.ratio(row, Standing::Floor);
            line.push(floor.map_or("-".into(), |(_, ratio)| format!("{ratio:.2}")));
            lines.push(line);
        }
        aligned(&lines)
    }

    /// How often each operation takes something from the heap, and how much.
    pub fn heaps(&self) -> String {
        let mut head = vec!["allocations (bytes)".to_string()];
        head.extend(self.peers.iter().map(|peer| peer.name.to_string()));
        let mut lines = vec![head];
        for row in self.rows.iter().filter(|row| row.heaps.iter().any(Option::is_some)) {
            let mut line = vec![row.workload.name().to_string()];
            line.extend(row.heaps.iter().map(|heap| match heap {
                None => "-".to_string(),
                Some(heap) => format!("{:.2} ({:.0})", heap.allocations, heap.bytes),
            }));
            lines.push(line);
        }
        if lines.len() == 1 { String::new() } else { aligned(&lines) }
    }

    /// The fastest of that standing, and how many times its figure hearken's is.
    ///
    /// `None` when one of the two is missing, as with `--peer`.
    fn ratio(&self, row: &Row, standing: Standing) -> Option<(&'static str, f64)> {
        let best_of = |standing| {
            let figures = self.peers.iter().zip(row.medians());
            let figures = figures.filter(|(peer, _)| peer.standing == standing);
            let figures = figures.filter_map(|(peer, median)| Some((peer.name, median?)));
            figures.min_by(|a, b| a.1.total_cmp(&b.1))
        };
        let (_, ours) = best_of(Standing::Ours)?;
        let (name, theirs) = best_of(standing)?;
        Some((name, ours / theirs))
    }

    /// One object: the executors and their packages, and per workload the
    /// medians, all samples in rounds, and the allocations.
    pub fn to_json(&self, date: Option<&str>) -> String {
        // By hand: only names and numbers that need no escaping.
        let mut text = String::from("{\n");
        if let Some(date) = date {
            text += &format!("  \"date\": \"{date}\",\n");
        }
        let executors = self.peers.iter().map(|peer| {
            let packages = peer.packages.iter();
            let packages = packages.map(|name| format!("\"{name}\": \"{}\"", version(name)));
            let standing = match peer.standing {
                Standing::Ours => "ours",
                Standing::Peer => "peer",
                Standing::Floor => "floor",
            };
            let packages = joined(packages, ", ");
            format!(
                "    \"{}\": {{\"standing\": \"{standing}\", \"packages\": {{{packages}}}}}",
                peer.name
            )
        });
        text += &format!("  \"executors\": {{\n{}\n  }},\n", joined(executors, ",\n"));
        let rows = self.rows.iter().map(|row| self.row_to_json(row));
        text + &format!("  \"rows\": [\n{}\n  ]\n}}\n", joined(rows, ",\n"))
    }

    fn row_to_json(&self, row: &Row) -> String {
        let names = || self.peers.iter().map(|peer| peer.name);
        let samples = names().zip(&row.samples);
        let samples = samples.map(|(name, samples)| format!("\"{name}\": {samples:.2?}"));
        let medians = names().zip(row.medians());
        let medians = medians
            .filter_map(|(name, median)| median.map(|median| format!("\"{name}\": {median:.2}")));
        let heaps = names().zip(&row.heaps);
        let heaps = heaps.filter_map(|(name, heap)| {
            heap.map(|heap| {
                format!(
                    "\"{name}\": {{\"allocations\": {:.3}, \"bytes\": {:.1}}}",
                    heap.allocations, heap.bytes
                )
            })
        });
        format!(
            "    {{\"workload\": \"{}\", \"about\": \"{}\", \"unit\": \"{}\", \"rounds\": {},\n     \
             \"medians\": {{{}}},\n     \"heap\": {{{}}},\n     \"samples\": {{{}}}}}",
            row.workload.name(),
            row.workload.about(),
            row.workload.unit().name(),
            row.samples.iter().map(Vec::len).max().unwrap_or(0),
            joined(medians, ", "),
            joined(heaps, ", "),
            joined(samples, ", "),
        )
    }
}

fn joined(parts: impl Iterator<Item = String>, between: &str) -> String {
    parts.collect::<Vec<_>>().join(between)
}

/// As columns: the first to the left, the others to the right.
fn aligned(lines: &[Vec<String>]) -> String {
    let mut widths = vec![0; lines[0].len()];
    for line in lines {
        for (cell, width) in line.iter().zip(&mut widths) {
            *width = cell.len().max(*width);
        }
    }
    let mut text = String::new();
    for line in lines {
        let (first, others) = line.split_first().expect("every line begins with a name");
        let mut columns = format!("{first:<width$}", width = widths[0]);
        for (cell, width) in others.iter().zip(&widths[1..]) {
            write!(columns, "  {cell:>width$}").expect("a string takes everything");
        }
        text += columns.trim_end();
        text.push('\n');
    }
    text
}

/// With a decimal where it says something.
fn figure(median: Option<f64>) -> String {
    match median {
        None => "-".to_string(),
        Some(figure) if figure < 100.0 => format!("{figure:.1}"),
        Some(figure) => format!("{figure:.0}"),
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
