//! Random programs, small ones mostly: those find most.

use crate::program::{
    Act, After, Body, CleanUp, Deed, HANDLES, Host, Kind, Missed, Moment, Payload, Program, Rule,
    Settings, Slot, Step, TIMERS, Verdict, Wait,
};
use crate::random::Random;

/// What programs are mostly about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Style {
    Outcomes,
    Timers,
    Shutdown,
    Interrupts,
    /// The default handler, and handlers that panic.
    Handlers,
}

pub fn generate(seed: u64, style: Style) -> Program {
    let mut random = Random(seed);
    let size = if seed % 16 == 15 { 20 + random.below(20) } else { 4 + random.below(12) };
    let mut generator = Generator { random, style, left: size as isize };
    let mut settings = generator.settings();
    settings.shuffle = (seed % 8 == 5).then_some(seed);
    let most = if style == Style::Handlers { 5 } else { 3 };
    let rules = (0..generator.random.below(most)).map(|_| generator.rule()).collect();
    let host = generator.host();
    Program { settings, rules, host }.numbered()
}

struct Generator {
    random: Random,
    style: Style,
    /// How many steps and deeds there may still be, about.
    left: isize,
}

/// Where a deed is done. Not everything can be done everywhere.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Host,
    Poll,
    Drop,
    Callback,
    Handler,
}

impl Generator {
    fn settings(&mut self) -> Settings {
        let random = &mut self.random;
        Settings {
            grace: random.among(&[Some(3), Some(5), Some(5), Some(20), Some(0), None]),
            auto: !random.one_in(4),
            closed_world: !random.one_in(4),
            debug: random.one_in(4),
            max_tasks: if random.one_in(8) { 2 } else { 1000 },
            shuffle: None,
            default_handler: self.style == Style::Handlers && random.one_in(4),
            reads_stderr: self.style == Style::Handlers,
        }
    }

    fn rule(&mut self) -> Rule {
        let of_interrupts = [Kind::Interrupted, Kind::Interrupted, Kind::Cancelled];
        let of_all = [
            Kind::NeverRetrieved,
            Kind::NeverRetrieved,
            Kind::Cancelled,
            Kind::CallbackPanicked,
            Kind::FailedDuringShutdown,
            Kind::Overran,
            Kind::DroppedPending,
            Kind::StillHeld,
            Kind::Interrupted,
            Kind::PanickedInDrop,
            Kind::Refused,
            Kind::Library,
            Kind::IgnoredCancellation,
        ];
        let kind = match self.style {
            Style::Interrupts if self.random.one_in(2) => self.random.among(&of_interrupts),
            _ => self.random.among(&of_all),
        };
        let verdict = match self.random.below(5) {
            0 => Verdict::ShutDown,
            1 => Verdict::Ignore,
            _ => Verdict::Proceed,
        };
        if self.random.one_in(6) {
            return Rule { kind, deeds: vec![], verdict, always: true };
        }
        let count = self.random.below(3);
        let mut deeds = self.deeds(count, Place::Handler);
        if self.style == Style::Handlers && self.random.one_in(2) {
            deeds.push(deed(Act::Panic));
        }
        Rule { kind, deeds, verdict, always: false }
    }

    fn host(&mut self) -> Vec<Host> {
        let mut host = vec![];
        let count = 1 + self.random.below(3);
        for _ in 0..count {
            let body = self.body();
            host.push(match self.random.below(6) {
                0 => Host::BlockOn(body),
                _ => Host::Do(deed(Act::Spawn(self.slot(), Box::new(body)))),
            });
        }
        while self.left > 0 || host.len() < 5 {
            self.left -= 1;
            let stops = !matches!(self.style, Style::Outcomes | Style::Timers);
            let one = match self.random.below(20) {
                0..=4 => Host::Turn,
                5 => Host::Polls(self.random.below(3)),
                6 | 7 => Host::RunUntilIdle,
                8 | 9 => Host::Advance(self.random.below(5) as Moment),
                10 => Host::BlockOn(self.body()),
                11 if stops => Host::Do(deed(Act::RequestShutDown)),
                12 if stops && self.random.one_in(2) => Host::ShutDown,
                13 | 14 if self.style == Style::Interrupts => Host::Do(deed(Act::Interrupt)),
                15 if self.style == Style::Timers => Host::Advance(self.random.below(9) as Moment),
                16 if self.random.one_in(2) => Host::Until(self.random.below(3) as Moment),
                _ => Host::Do(self.deed(Place::Host)),
            };
            host.push(one);
        }
        if !self.random.one_in(4) {
            host.push(Host::ShutDown);
        }
        for _ in 0..self.random.below(3) {
            host.push(match self.random.one_in(2) {
                true => Host::Do(self.deed(Place::Host)),
                false => Host::Turn,
            });
        }
        host
    }

    fn slot(&mut self) -> Slot {
        // Few, so that they meet.
        self.random.below(HANDLES).min(self.random.below(HANDLES))
    }

    fn timer(&mut self) -> Slot {
        self.random.below(TIMERS).min(self.random.below(TIMERS))
    }

    fn moment(&mut self) -> Moment {
        self.random.among(&[0, 1, 1, 2, 2, 3, 4, 7, 70, 5_000])
    }

    // ---- Bodies ------------------------------------------------------------------

    fn body(&mut self) -> Body {
        self.left -= 1;
        let timers = self.style == Style::Timers;
        let count = 1 + self.random.below(if timers { 7 } else { 4 });
        let inside = self.steps(count);
        let scoped = match self.style {
            Style::Outcomes | Style::Timers | Style::Handlers => self.random.one_in(4),
            Style::Shutdown | Style::Interrupts => self.random.one_in(2),
        };
        let cleanup = scoped.then(|| {
            let count = self.random.below(3);
            let after = [After::Return, After::Return, After::Accept, After::Drop];
            CleanUp { steps: self.steps(count), after: self.random.among(&after) }
        });
        let guard = match self.random.one_in(4) {
            true => self.deeds(1, Place::Drop),
            false => vec![],
        };
        Body { label: 0, guard, inside, cleanup }
    }

    fn steps(&mut self, count: usize) -> Vec<Step> {
        let mut steps = vec![];
        for _ in 0..count {
            let wait = self.wait();
            let is_last = matches!(wait, Wait::Value(_) | Wait::Fail(_) | Wait::Throw(_));
            steps.push(Step { label: 0, wait });
            if is_last {
                break;
            }
        }
        steps
    }

    fn wait(&mut self) -> Wait {
        self.left -= 1;
        if self.left < 0 {
            let all = [Wait::Yield, Wait::Pending, Wait::Sleep(1), Wait::Sleep(2)];
            return all[self.random.below(all.len())].clone();
        }
        if self.style == Style::Timers && !self.random.one_in(4) {
            return self.timed();
        }
        match self.random.below(32) {
            0..=8 => Wait::Do(self.act(Place::Poll)),
            9 | 10 => Wait::Yield,
            11 | 12 => Wait::Sleep(self.moment()),
            13 => Wait::Shield(self.moment()),
            14 => Wait::Pending,
            15 => Wait::AwaitHere(self.slot()),
            16 | 17 => Wait::Await { slot: self.slot(), pass_on: self.random.one_in(2) },
            18 => Wait::PollOnce { slot: self.slot(), keeps: self.random.one_in(2) },
            19..=23 => self.end(),
            24 => Wait::GiveWaker,
            _ => Wait::Do(Act::Spawn(self.slot(), Box::new(self.body()))),
        }
    }

    fn timed(&mut self) -> Wait {
        let (slot, moment) = (self.timer(), self.moment());
        match self.random.below(12) {
            0..=2 => Wait::NewTimer(slot, moment),
            3..=5 => Wait::AwaitTimer(slot),
            6 => Wait::PollTimer(slot),
            7 => Wait::Do(Act::ResetTimer(slot, moment)),
            8 => Wait::Do(if self.random.one_in(2) { Act::DropTimer(slot) } else { Act::Wake }),
            9 => Wait::GiveWaker,
            10 => Wait::Sleep(moment),
            _ => Wait::Ticks {
                period: 1 + self.random.below(4) as Moment,
                count: 1 + self.random.below(4) as u32,
                missed: self.random.among(&[Missed::Burst, Missed::Delay, Missed::Skip]),
            },
        }
    }

    fn end(&mut self) -> Wait {
        let payload = self.payload();
        match self.random.below(5) {
            0 | 1 => Wait::Value(payload),
            2 | 3 => Wait::Fail(payload),
            _ => Wait::Throw(payload),
        }
    }

    fn payload(&mut self) -> Payload {
        let count = if self.random.one_in(3) { 1 + self.random.below(2) } else { 0 };
        let on_drop = self.deeds(count, Place::Drop);
        let holds = self.random.one_in(3).then(|| self.slot());
        Payload { on_drop, holds }
    }

    // ---- Deeds -------------------------------------------------------------------

    fn deeds(&mut self, count: usize, place: Place) -> Vec<Deed> {
        (0..count).map(|_| self.deed(place)).collect()
    }

    fn deed(&mut self, place: Place) -> Deed {
        deed(self.act(place))
    }

    fn act(&mut self, place: Place) -> Act {
        self.left -= 1;
        let stops = !matches!(self.style, Style::Outcomes | Style::Timers);
        let may_panic = match place {
            Place::Host => false,
            // The default handler prints it.
            Place::Handler => self.style == Style::Handlers,
            Place::Poll | Place::Drop | Place::Callback => true,
        };
        match self.random.below(32) {
            0 | 1 => Act::Say,
            2..=4 if self.left > 0 => Act::Spawn(self.slot(), Box::new(self.body())),
            5 if self.left > 0 => Act::TrySpawn(self.slot(), Box::new(self.body())),
            6..=8 => Act::Cancel(self.slot()),
            9 if place == Place::Poll => Act::CancelSelf,
            10..=13 => Act::Drop(self.slot()),
            14 => Act::Ignore(self.slot()),
            15 | 16 => Act::Take(self.slot()),
            17 => Act::Result(self.slot()),
            18 => Act::Error(self.slot()),
            19 | 20 if self.left > 0 => {
                let (slot, looks) = (self.slot(), self.random.one_in(3));
                let count = self.random.below(3);
                Act::OnDone { slot, looks, deeds: self.deeds(count, Place::Callback) }
            }
            21 => Act::RemoveOnDone(self.slot()),
            22 if stops => Act::Interrupt,
            23 if self.style == Style::Interrupts => Act::Interrupt,
            24 if stops => Act::RequestShutDown,
            25 if self.left > 0 => Act::Report(self.payload()),
            26 if self.style == Style::Timers => Act::ResetTimer(self.timer(), self.moment()),
            27 if self.style == Style::Timers => Act::DropTimer(self.timer()),
            28 | 29 if may_panic => Act::Panic,
            30 => Act::Wake,
            31 if self.random.one_in(2) => Act::WakeElsewhere,
            _ => Act::Say,
        }
    }
}

fn deed(act: Act) -> Deed {
    Deed { label: 0, act }
}
