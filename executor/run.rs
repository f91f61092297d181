//! A whole program.

use crate::current;
use crate::executor::{Executor, nested};
use crate::run_error::RunError;
use crate::stage::Parcel;
use std::future::Future;

/// Runs a program: makes an executor, listens for Ctrl-C (with the feature
/// `signal`), runs `main` to its end, and shuts the executor down.
///
/// The first Ctrl-C cancels the main, a second all other tasks too. Afterwards
/// Ctrl-C does what it did before.
///
/// # Errors
///
/// How the main ended, if not with a value; or why it was ended.
/// [`RunError::Interrupted`] after a Ctrl-C, whatever the main made of it.
///
/// # Examples
///
/// ```
/// let answer = hearken::run(async {
///     let task = hearken::spawn(async { Ok(6 * 7) });
///     Ok(task.await?)
/// });
/// assert_eq!(answer.unwrap(), 42);
/// ```
#[track_caller]
pub fn run<T>(main: impl Future<Output = anyhow::Result<T>>) -> Result<T, RunError> {
    if let Some(outer) = current::get() {
        let nested = nested("run", &outer);
        outer.drop_quietly("a refused main panicked while it was dropped", main);
        return Err(RunError::Nested(nested));
    }
    let executor = Executor::new();
    #[cfg(all(feature = "signal", unix))]
    // Without a pipe or a thread the program can still run.
    let listening = crate::signal::ctrl_c(&executor.interrupter()).ok();
    let answer = executor.run_main(&mut Parcel::Packed(main));
    executor.shut_down();
    // From here on Ctrl-C is the process's again. One that came between the two,
    // when there was nobody left to tell, is not lost for all that.
    #[cfg(all(feature = "signal", unix))]
    let late = listening.is_some_and(crate::signal::Listening::end);
    #[cfg(not(all(feature = "signal", unix)))]
    let late = false;
    executor.after_shut_down(answer, late)
}
