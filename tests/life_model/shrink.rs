//! Making a program smaller for as long as it still shows the same.

use crate::program::{Act, Body, Deed, Host, Payload, Program, Rule, Step, Verdict, Wait};
use std::time::{Duration, Instant};

/// How long a program is made smaller, at most.
const SHRINKING: Duration = Duration::from_secs(10);

/// The smallest that `still_differs`; and whether there was time enough to find it.
pub fn shrink(mut program: Program, still_differs: impl Fn(&Program) -> bool) -> (Program, bool) {
    let began = Instant::now();
    let mut at = 0;
    loop {
        let mut cut = Cut { left: at };
        let mut smaller = program.clone();
        cut.program(&mut smaller);
        if cut.left > 0 || cut.is_undone() {
            return (program, true); // there is no such cut
        }
        if began.elapsed() > SHRINKING {
            return (program, false);
        }
        smaller = smaller.numbered();
        if still_differs(&smaller) {
            program = smaller;
            at = 0;
        } else {
            at += 1;
        }
    }
}

/// The so-and-so-many-th way to make a program smaller.
struct Cut {
    left: isize,
}

const DONE: isize = isize::MIN;

impl Cut {
    fn is_undone(&self) -> bool {
        self.left != DONE
    }

    /// Whether this is the one.
    fn is_here(&mut self) -> bool {
        if self.left == DONE {
            return false;
        }
        self.left -= 1;
        if self.left < 0 {
            self.left = DONE;
        }
        self.left == DONE
    }

    /// One less in a list.
    fn list<T>(&mut self, list: &mut Vec<T>) {
        for at in 0..list.len() {
            if self.is_here() {
                list.remove(at);
                return;
            }
        }
    }

    /// Something simpler instead, unless it is that already.
    fn instead<T: PartialEq>(&mut self, thing: &mut T, simpler: T) {
        if *thing != simpler && self.is_here() {
            *thing = simpler;
        }
    }

    fn program(&mut self, program: &mut Program) {
        self.list(&mut program.host);
        self.list(&mut program.rules);
        let settings = &mut program.settings;
        self.instead(&mut settings.debug, false);
        self.instead(&mut settings.max_tasks, 1000);
        self.instead(&mut settings.shuffle, None);
        self.instead(&mut settings.grace, Some(5));
        self.instead(&mut settings.default_handler, false);
        for host in &mut program.host {
            match host {
                Host::Do(deed) => self.deed(deed),
                Host::BlockOn(body) => self.body(body),
                Host::RunUntilIdle | Host::Polls(_) | Host::Until(_) => {
                    self.instead(host, Host::Turn)
                }
                Host::Advance(by) => self.instead(by, 1),
                _ => {}
            }
        }
        program.rules.iter_mut().for_each(|rule| self.rule(rule));
    }

    fn rule(&mut self, rule: &mut Rule) {
        self.instead(&mut rule.verdict, Verdict::Proceed);
        self.deeds(&mut rule.deeds);
    }

    fn deeds(&mut self, deeds: &mut Vec<Deed>) {
        self.list(deeds);
        deeds.iter_mut().for_each(|deed| self.deed(deed));
    }

    fn deed(&mut self, deed: &mut Deed) {
        self.act(&mut deed.act);
    }

    fn act(&mut self, act: &mut Act) {
        match act {
            Act::Spawn(_, body) | Act::TrySpawn(_, body) => self.body(body),
            Act::OnDone { looks, deeds, .. } => {
                self.instead(looks, false);
                self.deeds(deeds);
            }
            Act::Report(payload) => self.payload(payload),
            _ => {}
        }
    }

    fn payload(&mut self, payload: &mut Payload) {
        self.instead(&mut payload.holds, None);
        self.deeds(&mut payload.on_drop);
    }

    fn body(&mut self, body: &mut Body) {
        self.deeds(&mut body.guard);
        self.instead(&mut body.cleanup, None);
        self.list(&mut body.inside);
        body.inside.iter_mut().for_each(|step| self.step(step));
        if let Some(cleanup) = &mut body.cleanup {
            self.list(&mut cleanup.steps);
            cleanup.steps.iter_mut().for_each(|step| self.step(step));
        }
    }

    fn step(&mut self, step: &mut Step) {
        match &mut step.wait {
            Wait::Do(act) => self.act(act),
            Wait::Value(payload) | Wait::Fail(payload) | Wait::Throw(payload) => {
                self.payload(payload);
            }
            Wait::Sleep(by) | Wait::Shield(by) | Wait::NewTimer(_, by) => self.instead(by, 1),
            Wait::Ticks { count, .. } => self.instead(count, 2),
            _ => {}
        }
    }
}
