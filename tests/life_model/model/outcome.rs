//! How tasks end, and what is said of that.

use super::{Handle, Phase, TaskAt, World};
use crate::program::{Kind, Payload};

/// A value, an error, or what is thrown. It is dropped by `World::drop_made`.
#[derive(Debug)]
pub struct Made {
    pub label: u32,
    payload: Payload,
    held: Option<Handle>,
}

#[derive(Debug)]
pub enum Outcome {
    Value(Made),
    Failed(Error),
    Panicked(Panic),
    Cancelled(&'static str),
}

#[derive(Debug)]
pub enum Error {
    Made(Made),
    Panicked(Panic),
    /// A task that was awaited was cancelled, for this reason.
    TaskCancelled(&'static str),
    AwaitedItself,
}

/// A panic.
#[derive(Debug)]
pub struct Panic {
    pub(super) thrown: Thrown,
    /// It panicked as it was dropped, because of this request.
    pub cancelled: Option<&'static str>,
}

#[derive(Debug)]
pub enum Thrown {
    Message(String),
    Made(Box<Made>),
}

/// What the handler is to hear.
#[derive(Debug)]
pub struct Report {
    pub kind: Kind,
    pub about: About,
    pub error: Option<Error>,
    /// Why a task was cancelled.
    pub reason: Option<&'static str>,
    /// It is settled in the ledger when the handler has heard.
    pub settles: bool,
}

/// A task, as a report has it.
#[derive(Debug, Default)]
pub struct About {
    /// None of one that was refused.
    pub label: u32,
    /// How it fares, and who has spawned it.
    pub words: String,
}

impl Report {
    pub fn new(kind: Kind, about: About) -> Report {
        Report { kind, about, error: None, reason: None, settles: false }
    }

    /// About no task.
    pub fn of(kind: Kind) -> Report {
        Report::new(kind, About::default())
    }
}

impl Panic {
    pub fn message_of(message: String) -> Panic {
        Panic { thrown: Thrown::Message(message), cancelled: None }
    }

    pub fn made(made: Made) -> Panic {
        Panic { thrown: Thrown::Made(Box::new(made)), cancelled: None }
    }

    pub fn message(&self) -> &str {
        match &self.thrown {
            Thrown::Message(message) => message,
            Thrown::Made(_) => "a value that is not a message",
        }
    }

    fn words(&self) -> String {
        match self.cancelled {
            Some(why) => format!("panicked: {}, cancelled: {why}", self.message()),
            None => format!("panicked: {}", self.message()),
        }
    }
}

impl Error {
    pub fn words(&self) -> String {
        match self {
            Error::Made(made) => format!("error {}", made.label),
            Error::Panicked(panic) => panic.words(),
            Error::TaskCancelled(reason) => format!("cancelled task: {reason}"),
            Error::AwaitedItself => "awaited itself".to_owned(),
        }
    }
}

impl Outcome {
    pub fn words(&self) -> String {
        match self {
            Outcome::Value(made) => format!("value {}", made.label),
            Outcome::Failed(error) => format!("failed: {}", error.words()),
            Outcome::Panicked(panic) => panic.words(),
            Outcome::Cancelled(reason) => format!("cancelled: {reason}"),
        }
    }

    /// What `?` makes of it. None of a value.
    pub fn into_error(self) -> Option<Error> {
        match self {
            Outcome::Value(_) => None,
            Outcome::Failed(error) => Some(error),
            Outcome::Panicked(panic) => Some(Error::Panicked(panic)),
            Outcome::Cancelled(reason) => Some(Error::TaskCancelled(reason)),
        }
    }
}

impl World {
    pub(super) fn make(&mut self, label: u32, payload: &Payload) -> Made {
        self.made += 1;
        let held = payload.holds.and_then(|slot| self.handles[slot].take());
        Made { label, payload: payload.clone(), held }
    }

    /// It says so, does what it is to do, and lets go of what it holds: also when
    /// it panics on the way.
    pub(super) fn drop_made(&mut self, made: Made) -> Result<(), Panic> {
        self.made -= 1;
        self.say(made.label, "is dropped");
        let done = self.deeds(&made.payload.on_drop);
        let unwinding = self.unwinding;
        self.unwinding |= done.is_err();
        made.held.into_iter().for_each(|handle| self.drop_handle(handle));
        self.unwinding = unwinding;
        done
    }

    /// What was thrown is dropped, and if that panics, nobody hears of it.
    pub(super) fn drop_panic(&mut self, panic: Panic) {
        let mut next = Some(panic);
        if let Some(Panic { thrown: Thrown::Made(made), .. }) = next.take()
            && let Err(again) = self.drop_made(*made)
        {
            std::mem::forget(again);
        }
    }

    pub(super) fn drop_error(&mut self, error: Error) -> Result<(), Panic> {
        match error {
            Error::Made(made) => self.drop_made(made),
            Error::Panicked(panic) => {
                self.drop_panic(panic);
                Ok(())
            }
            Error::TaskCancelled(_) | Error::AwaitedItself => Ok(()),
        }
    }

    pub(super) fn drop_outcome(&mut self, outcome: Outcome) -> Result<(), Panic> {
        match outcome {
            Outcome::Value(made) => self.drop_made(made),
            Outcome::Failed(error) => self.drop_error(error),
            Outcome::Panicked(panic) => {
                self.drop_panic(panic);
                Ok(())
            }
            Outcome::Cancelled(_) => Ok(()),
        }
    }

    /// The library drops something of the program's: a panic is reported.
    pub(super) fn after_drop(&mut self, dropped: Result<(), Panic>, about: Option<TaskAt>) {
        if let Err(panic) = dropped {
            let about = about.map(|task| self.about(task)).unwrap_or_default();
            let report = Report::new(Kind::PanickedInDrop, about);
            self.report(Report { error: Some(Error::Panicked(panic)), ..report });
        }
    }

    /// When the executor is gone, there is nobody but the default handler.
    pub(super) fn report(&mut self, report: Report) {
        if self.phase != Phase::Gone {
            return self.reports.push_back(report);
        }
        self.printed += 1;
        if let Some(error) = report.error
            && let Err(panic) = self.drop_error(error)
        {
            self.printed += 1;
            self.drop_panic(panic);
        }
    }
}
