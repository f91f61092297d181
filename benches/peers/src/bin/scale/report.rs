//! The table, JSON, and what bends.

use std::fmt::Write;

use hearken_peers::adapters::version;

use crate::experiments::{EXECUTORS, Executor, Experiment};

/// Everything that was measured.
pub struct Report {
    pub curves: Vec<Curve>,
}

/// One experiment on one executor.
pub struct Curve {
    pub experiment: Experiment,
    pub executor: &'static Executor,
    /// By size.
    pub points: Vec<Point>,
}

#[derive(Clone, Copy)]
pub struct Point {
    /// How many there were.
    pub size: usize,
    /// For each.
    pub nanos: f64,
    /// For each, when all were alive.
    pub bytes: f64,
    /// For all together, when none was.
    pub left: f64,
}

/// A step to ten times as many that makes each so many times dearer is a bend.
///
/// Work that grows with n to the power of 1.5 would make it 3.2 times, and with
/// the square ten; leaving a cache was seen to make it two, with each executor.
const BEND: f64 = 3.0;

impl Curve {
    /// How many times dearer one is among the most than among the fewest but one.
    ///
    /// Not the fewest: what is done once for all of them weighs on those.
    fn growth(&self) -> f64 {
        self.points[self.points.len() - 1].nanos / self.points[1].nanos
    }

    /// The steepest step.
    fn steepest(&self) -> f64 {
        let steps = self.points.windows(2).map(|pair| pair[1].nanos / pair[0].nanos);
        steps.fold(0.0, f64::max)
    }

    fn verdict(&self) -> &'static str {
        if self.steepest() > BEND { "bends" } else { "straight" }
    }
}

impl Report {
    pub fn table(&self) -> String {
        let mut text = String::new();
        let mut last = None;
        for curve in &self.curves {
            if last != Some(curve.experiment) {
                last = Some(curve.experiment);
                let Curve { experiment, points, .. } = curve;
                write!(text, "\n{}: {}\n{:<12}", experiment.name(), experiment.about(), "ns each")
                    .expect("a string takes everything");
                for point in points {
                    write!(text, "{:>10}", point.size).expect("a string takes everything");
                }
                text += "   growth  steepest            bytes each  left of all\n";
            }
            write!(text, "{:<12}", curve.executor.name).expect("a string takes everything");
            for point in &curve.points {
                write!(text, "{:>10.1}", point.nanos).expect("a string takes everything");
            }
            let most = curve.points[curve.points.len() - 1];
            writeln!(
                text,
                "{:>9.2} {:>9.2} {:<8} {:>12.1} {:>12.0}",
                curve.growth(),
                curve.steepest(),
                curve.verdict(),
                most.bytes,
                most.left
            )
            .expect("a string takes everything");
        }
        text
    }

    pub fn to_json(&self, date: Option<&str>) -> String {
        let curves: Vec<_> = self.curves.iter().map(Curve::to_json).collect();
        format!("{{\n{}  \"curves\": [\n{}\n  ]\n}}\n", head(date), curves.join(",\n"))
    }
}

impl Curve {
    fn to_json(&self) -> String {
        let points = self.points.iter().map(|point| {
            format!(
                "{{\"n\": {}, \"ns\": {:.2}, \"bytes\": {:.2}, \"left\": {:.0}}}",
                point.size, point.nanos, point.bytes, point.left
            )
        });
        format!(
            "    {{\"curve\": \"{}\", \"about\": \"{}\", \"executor\": \"{}\", \"verdict\": \"{}\",\n     \
             \"points\": [{}]}}",
            self.experiment.name(),
            self.experiment.about(),
            self.executor.name,
            self.verdict(),
            points.collect::<Vec<_>>().join(", ")
        )
    }
}

/// The date, and the packages of the executors.
pub fn head(date: Option<&str>) -> String {
    let date = date.map_or(String::new(), |date| format!("  \"date\": \"{date}\",\n"));
    let executors = EXECUTORS.iter().map(|executor| {
        let packages = executor.packages.iter();
        let packages = packages.map(|name| format!("\"{name}\": \"{}\"", version(name)));
        let packages: Vec<_> = packages.collect();
        format!("    \"{}\": {{\"packages\": {{{}}}}}", executor.name, packages.join(", "))
    });
    let executors: Vec<_> = executors.collect();
    format!("{date}  \"executors\": {{\n{}\n  }},\n", executors.join(",\n"))
}

#[cfg(test)]
mod tests {
    use super::{Curve, EXECUTORS, Experiment, Point};

    fn curve(nanos: &[f64]) -> Curve {
        let point = |&nanos: &f64| Point { size: 1, nanos, bytes: 0.0, left: 0.0 };
        let points = nanos.iter().map(point).collect();
        Curve { experiment: Experiment::Tasks, executor: &EXECUTORS[0], points }
    }

    #[test]
    fn a_step_of_the_square_is_a_bend_and_a_cache_is_none() {
        assert_eq!(curve(&[100.0, 90.0, 95.0, 250.0, 400.0]).verdict(), "straight");
        assert_eq!(curve(&[100.0, 90.0, 95.0, 250.0, 2_500.0]).verdict(), "bends");
        assert_eq!(curve(&[100.0, 50.0, 60.0, 80.0, 100.0]).growth(), 2.0);
    }
}
