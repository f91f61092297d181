//! Random programs, small ones mostly: those find most.

use crate::program::{Act, After, Kind, Loser, Moment, Program, Request, Step};
use crate::random::Random;

/// What the moments of a program are like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Style {
    /// No two things happen at the same moment by chance.
    Distinct,
    /// Many do.
    Ties,
}

pub fn generate(seed: u64, style: Style) -> Program {
    let mut random = Random(seed);
    // The first numbers of neighbouring seeds are alike in nothing, but the
    // size is better known: every sixteenth program is larger.
    let size = if seed % 16 == 15 { 14 + random.below(16) } else { 3 + random.below(9) };
    let (fine, left) = (Random(!seed), size as isize);
    let mut generator = Generator { random, fine, style, left, used: vec![], bombs: 1 };
    let count = if generator.random.one_in(5) { 2 } else { 1 };
    let tasks = match seed % 16 {
        // What is moved while a request is delivered counts as there in its new
        // task at once.
        14 if style == Style::Distinct => generator.with_a_future_that_moves(),
        13 if style == Style::Distinct => vec![generator.with_a_future_that_is_kept()],
        _ => (0..count).map(|_| generator.body(count)).collect(),
    };
    let mut program = Program::new(tasks, vec![]).numbered();
    // A panic in the drop of a set leaks what else is in it.
    let in_set = |act: &Act| matches!(act, Act::Set(_) | Act::Concurrent(_) | Act::Stream { .. });
    if program.tasks.iter().any(|task| task.contains(&in_set)) {
        program.tasks.iter_mut().for_each(|task| without(task, &Act::Bomb));
    }
    // Whether what is kept has taken a request is not known before it is polled again.
    let keeps = |act: &Act| matches!(act, Act::Keep { .. });
    if program.tasks.iter().any(|task| task.contains(&keeps)) {
        program.tasks.iter_mut().for_each(|task| without(task, &Act::Uncancel));
    }
    without_circles_in_groups(&mut program);
    program.requests = generator.requests(&program);
    program.numbered()
}

/// A group waits for its tasks, whatever they wait for. Where that is the task of the
/// group itself, it depends on who asks first where the circle is broken, and on
/// nothing that the promises say.
fn without_circles_in_groups(program: &mut Program) {
    let awaits: Vec<Vec<usize>> = program.tasks.iter().map(awaited_tasks).collect();
    let reaches = |from: usize, to: usize| {
        let (mut reached, mut at) = (vec![from], 0);
        while let Some(&task) = reached.get(at) {
            let next = awaits.get(task).into_iter().flatten();
            let new: Vec<usize> = next.filter(|it| !reached.contains(it)).copied().collect();
            reached.extend(new);
            at += 1;
        }
        reached.contains(&to)
    };
    for (number, task) in program.tasks.iter_mut().enumerate() {
        without_awaits_in_groups(task, false, &|awaited| reaches(awaited, number));
    }
}

/// All that are awaited by their numbers in a step.
fn awaited_tasks(step: &Step) -> Vec<usize> {
    let own = match step.act {
        Act::AwaitTask(number) => Some(number),
        _ => None,
    };
    let inside = step.parts().into_iter().flat_map(|part| awaited_tasks(&part));
    own.into_iter().chain(inside).collect()
}

fn without_awaits_in_groups(step: &mut Step, in_group: bool, circles: &dyn Fn(usize) -> bool) {
    if let Act::AwaitTask(number) = step.act
        && in_group
        && circles(number)
    {
        step.act = Act::Pending;
    }
    let in_group = in_group || matches!(step.act, Act::Group { .. });
    let parts = step.parts_mut().into_iter();
    parts.for_each(|part| without_awaits_in_groups(part, in_group, circles));
}

/// Waits for ever instead.
fn without(step: &mut Step, act: &Act) {
    if step.act == *act {
        step.act = Act::Pending;
    }
    step.parts_mut().into_iter().for_each(|part| without(part, act));
}

struct Generator {
    random: Random,
    fine: Random,
    style: Style,
    /// How many steps there may still be, about.
    left: isize,
    /// Which durations there are already.
    used: Vec<Moment>,
    bombs: usize,
}

impl Generator {
    /// A moment, or a duration. All sums of different ones are different, nearly always:
    /// each has a fine part, which is drawn from numbers of its own.
    fn moment(&mut self) -> Moment {
        if self.style == Style::Ties {
            return 1 + self.random.below(4) as Moment;
        }
        loop {
            let moment = 1_000 + self.random.below(1 << 16) as Moment * 7;
            if !self.used.contains(&moment) {
                self.used.push(moment);
                return (moment << 16) + self.fine.below(1 << 16) as Moment;
            }
        }
    }

    fn requests(&mut self, program: &Program) -> Vec<(Moment, Request)> {
        let bodies = program.bodies();
        let count = [1, 1, 1, 2, 2, 3, 0][self.random.below(7)];
        let mut interrupted = false;
        let mut requests = vec![];
        for _ in 0..count {
            let at = self.moment() * if self.random.one_in(3) { 2 } else { 1 };
            // Most often the first task.
            let which = if self.random.one_in(3) { self.random.below(bodies.len()) } else { 0 };
            let request = match self.random.below(12) {
                0 => Request::Uncancel(bodies[which]),
                // An interrupt is taken in at the end of a turn: after what comes
                // at the same moment.
                1 if !interrupted && self.style == Style::Distinct => {
                    interrupted = true;
                    Request::Interrupt
                }
                _ => Request::Cancel(bodies[which]),
            };
            requests.push((at, request));
        }
        requests
    }

    /// The body of a task.
    fn body(&mut self, tasks: usize) -> Step {
        let mut parts = vec![self.step(tasks)];
        while self.left > 0 && parts.len() < 4 && !self.random.one_in(3) {
            parts.push(self.step(tasks));
        }
        match parts.len() {
            1 => parts.remove(0),
            _ => Step::new(Act::Seq(parts)),
        }
    }

    fn boxed(&mut self, tasks: usize) -> Box<Step> {
        Box::new(self.step(tasks))
    }

    fn some(&mut self, tasks: usize, least: usize) -> Vec<Step> {
        let count = least + self.random.below(2);
        (0..count).map(|_| self.step(tasks)).collect()
    }

    fn leaf(&mut self, tasks: usize) -> Act {
        match self.random.below(24) {
            0..=8 => Act::Sleep(self.moment()),
            9..=15 => Act::Pending,
            16 | 17 => Act::Log,
            18 => Act::Fail,
            19 => Act::CancelSelf,
            20 if self.random.one_in(2) => Act::Uncancel,
            21 if self.random.one_in(3) => Act::Panic,
            22 if self.bombs > 0 && self.random.one_in(3) => {
                self.bombs -= 1;
                Act::Bomb
            }
            23 if tasks > 1 => Act::AwaitTask(self.random.below(tasks)),
            _ => Act::Sleep(self.moment()),
        }
    }

    fn step(&mut self, tasks: usize) -> Step {
        self.left -= 1;
        if self.left <= 0 || self.random.one_in(5) {
            return Step::new(self.leaf(tasks));
        }
        let act = match self.random.below(34) {
            0..=4 => Act::Scope {
                inside: self.boxed(tasks),
                cleanup: Box::new(self.cleanup(tasks)),
                after: [After::Accept, After::Return, After::Rethrow, After::Drop]
                    [self.random.below(4)],
            },
            5..=7 => Act::Shield(self.boxed(tasks)),
            8..=11 => Act::Timeout(self.moment(), self.boxed(tasks)),
            12..=14 => {
                Act::Finally { inside: self.boxed(tasks), cleanup: Box::new(self.cleanup(tasks)) }
            }
            15..=18 => Act::Await(self.boxed(tasks)),
            19 => {
                let kind = [Kind::Gather, Kind::TryGather, Kind::Settle][self.random.below(3)];
                Act::Gather(kind, self.some(tasks, 1))
            }
            20 | 21 => Act::Group { tasks: self.some(tasks, 1), body: self.boxed(tasks) },
            22..=24 => Act::Join(self.some(tasks, 2)),
            25 => Act::Set(self.some(tasks, 2)),
            26 if self.style == Style::Distinct && self.random.one_in(3) => {
                Act::Stream { parts: self.some(tasks, 1), each: self.boxed(tasks) }
            }
            26 => Act::Concurrent(self.some(tasks, 2)),
            // What lost a `select!` in the very last poll counts as there until
            // the next one, so that what is ready at that moment goes first. That
            // shows only when a request comes at the moment of something else.
            // And the second branch listens to nothing: the library lets all
            // branches that are polled take a request, also when the first of a
            // `select!` ends by it (4.4); the model goes through them one by one.
            27 | 28 if self.style == Style::Distinct => Act::Select {
                first: self.boxed(tasks),
                second: Box::new(Step::new(Act::Sleep(self.moment()))),
                loser: match self.random.below(5) {
                    0 | 1 => Loser::Drop,
                    2 => Loser::Forget,
                    _ => Loser::Park { then: self.boxed(tasks), resume: self.random.one_in(2) },
                },
            },
            29 => Act::Try(self.boxed(tasks)),
            30 => Act::Spawn(self.boxed(tasks)),
            31 if self.random.one_in(2) => Act::Repeat(2, self.boxed(tasks)),
            _ => return self.body(tasks),
        };
        Step::new(act)
    }

    /// Two tasks: one begins with a future, and hands it over to the other.
    fn with_a_future_that_moves(&mut self) -> Vec<Step> {
        let select = Act::Select {
            first: Box::new(Step::new(Act::Sleep(self.moment()))),
            second: Box::new(self.portable()),
            loser: Loser::HandOver,
        };
        let one = Act::Seq(vec![Step::new(select), self.step(2)]);
        let sleep = Step::new(Act::Sleep(self.moment() * 2));
        let mut other = Step::new(Act::Seq(vec![sleep, Step::new(Act::TakeOver)]));
        for _ in 0..self.random.below(3) {
            let inside = Box::new(other);
            other = Step::new(match self.random.below(5) {
                0 => Act::Timeout(self.moment() * 2, inside),
                1 => Act::Shield(inside),
                2 => Act::Join(vec![*inside, self.step(2)]),
                3 => Act::Finally { inside, cleanup: Box::new(self.cleanup(2)) },
                _ => {
                    Act::Scope { inside, cleanup: Box::new(self.cleanup(2)), after: After::Accept }
                }
            });
        }
        vec![Step::new(one), other]
    }

    /// A task that keeps a future, and awaits it by reference inside of something.
    fn with_a_future_that_is_kept(&mut self) -> Step {
        let kept = Box::new(self.kept());
        let user = match self.random.below(4) {
            0 => vec![self.borrowing(), self.step(1)],
            1 => vec![self.borrowing(), self.borrowing()],
            2 => vec![self.borrowing(), self.step(1), self.borrowing()],
            _ => vec![self.borrowing()],
        };
        let tried = |step| Step::new(Act::Try(Box::new(step)));
        let user = match user.len() {
            1 => user.into_iter().next().expect("there is one"),
            _ => Step::new(Act::Seq(user.into_iter().map(tried).collect())),
        };
        let resume = !self.random.one_in(5);
        let mut body = Step::new(Act::Keep { kept, user: Box::new(user), resume });
        if self.random.one_in(2) {
            body = Step::new(Act::Seq(vec![body, self.step(1)]));
        }
        for _ in 0..self.random.below(3) {
            body = self.around(body);
        }
        body
    }

    fn kept(&mut self) -> Step {
        Step::new(match self.random.below(9) {
            0..=2 => Act::Await(self.boxed(1)),
            3 => Act::Gather(
                [Kind::Gather, Kind::TryGather, Kind::Settle][self.random.below(3)],
                self.some(1, 1),
            ),
            4 => Act::Group { tasks: self.some(1, 1), body: self.boxed(1) },
            5 => Act::Finally { inside: self.boxed(1), cleanup: Box::new(self.cleanup(1)) },
            _ => return self.step(1),
        })
    }

    /// What is kept, inside of one or two other steps.
    fn borrowing(&mut self) -> Step {
        let mut step = Step::new(Act::Kept);
        for _ in 0..1 + self.random.below(2) {
            step = self.around(step);
        }
        step
    }

    /// A step around another.
    fn around(&mut self, inside: Step) -> Step {
        self.left -= 1;
        let inside = Box::new(inside);
        Step::new(match self.random.below(12) {
            0..=3 => Act::Scope {
                inside,
                // Perhaps it awaits there what it could not before.
                cleanup: match self.random.one_in(3) {
                    true => Box::new(Step::new(Act::Kept)),
                    false => Box::new(self.cleanup(1)),
                },
                after: [After::Accept, After::Return, After::Rethrow, After::Drop]
                    [self.random.below(4)],
            },
            4 | 5 => Act::Timeout(self.moment(), inside),
            6 => Act::Shield(inside),
            7 => Act::Finally { inside, cleanup: Box::new(self.cleanup(1)) },
            8 => Act::Join(vec![*inside, self.step(1)]),
            9 => Act::Set(vec![*inside, self.step(1)]),
            10 => Act::Group { tasks: self.some(1, 1), body: inside },
            _ => Act::Select {
                first: inside,
                second: Box::new(Step::new(Act::Sleep(self.moment()))),
                loser: Loser::Drop,
            },
        })
    }

    /// What may be moved to another task: it never has a token in its hands.
    fn portable(&mut self) -> Step {
        self.left -= 1;
        let leaf = self.random.one_in(3);
        Step::new(match self.random.below(7) {
            0 | 1 => Act::Sleep(self.moment()),
            2 => Act::Pending,
            _ if leaf => Act::Sleep(self.moment()),
            3 => Act::Shield(Box::new(self.portable())),
            4 => Act::Timeout(self.moment(), Box::new(self.portable())),
            5 => Act::Await(Box::new(self.portable())),
            _ => Act::Scope {
                inside: Box::new(self.portable()),
                cleanup: Box::new(Step::new(Act::Log)),
                after: After::Accept,
            },
        })
    }

    /// A clean-up: mostly a short one.
    fn cleanup(&mut self, tasks: usize) -> Step {
        match self.random.below(6) {
            0 | 1 => Step::new(Act::Log),
            2..=4 => Step::new(Act::Sleep(self.moment())),
            _ => self.step(tasks),
        }
    }
}
