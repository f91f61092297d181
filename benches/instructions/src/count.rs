//! Instructions of one workload.

use std::time::Duration;

use hearken_instructions::instructions;

use crate::workloads::Workload;

/// How many instructions one operation takes.
///
/// # Errors
///
/// If there is no valgrind, or the workload fails under it.
pub fn per_operation(workload: &Workload) -> Result<f64, String> {
    let run = |passes: usize| {
        let count = instructions(&["--run", workload.name, &passes.to_string()], PATIENCE)?;
        count.ok_or_else(|| format!("{} takes longer than {PATIENCE:?}", workload.name))
    };
    let (few, many) = workload.passes();
    let operations = (many - few) * workload.operations;
    Ok((run(many)? as f64 - run(few)? as f64) / operations as f64)
}

/// How long a workload may take. Most take half a second.
const PATIENCE: Duration = Duration::from_secs(300);
