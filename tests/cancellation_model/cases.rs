//! Situations that have failed once, and what is right there.
//!
//! They try the model: what it says is compared with what the promises say, by
//! hand. Then the library is compared with the model. Time counts in
//! milliseconds here; `tidy(n)` is a task or future whose clean-up takes n.

use crate::compare::{difference, quietly, wanted};
use crate::program::Loser::{Drop, Forget, Park};
use crate::program::{Act, After, Kind, Loser, Moment, Program, Request, Step};
use crate::real::Mode;

/// A case, and lines that must be said in it: when, by whom, and what. What
/// begins with a `!` must not be said at all.
struct Case {
    name: &'static str,
    program: Program,
    lines: &'static [(Moment, u32, &'static str)],
}

#[test]
fn the_model_says_what_is_right() {
    for Case { name, program, lines } in cases().into_iter().chain(found()) {
        let said = wanted(&program);
        for &(now, label, line) in lines {
            let right = match line.strip_prefix('!') {
                Some(never) => !said.has_at_any_time(label, never),
                None => said.has(now, label, line),
            };
            assert!(right, "{name}: {now} {label} {line}\n{program}\n{said}");
        }
    }
}

#[test]
fn the_library_does_what_is_right() {
    quietly();
    let mut faults = vec![];
    for Case { name, program, .. } in cases().into_iter().chain(found()) {
        if let Some(logs) = difference(&program, Mode::Plain) {
            eprintln!("{name}:\n{program}\n{logs}");
            faults.push(name);
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "1. a parked await, a scope that accepts, and a second request",
            program: one(
                seq([select(
                    task(pending()),
                    sleep(2),
                    park(seq([accepting(pending()), pending()])),
                )]),
                [cancel(3), cancel(4)],
            ),
            lines: &[(3, 7, "heard Requested: request 0"), (4, 1, "was cancelled: request 1")],
        },
        Case {
            name: "1. the same, at shutdown",
            program: one(
                select(shield(pending()), sleep(2), park(seq([accepting(pending()), pending()]))),
                [cancel(3), (4, Request::Interrupt)],
            ),
            lines: &[(4, 1, "was cancelled: interrupted")],
        },
        Case {
            name: "2. a deadline passes while a gather waits for a request's effect",
            program: one(seq([tried(timeout(2, gather([tidy(3)]))), sleep(3600)]), [cancel(1)]),
            lines: &[(2, 1, "was cancelled: request 0"), (0, 3, "!has elapsed")],
        },
        Case {
            name: "3. a token dies with what a deadline drops, and comes back",
            program: one(
                seq([tried(timeout(2, finally(finally(pending(), sleep(3)), log()))), pending()]),
                [cancel(1)],
            ),
            lines: &[(2, 1, "was cancelled: request 0")],
        },
        Case {
            name: "3. the same in a scope",
            program: one(
                seq([tried(timeout(30, returning(finally(pending(), sleep(40))))), pending()]),
                [cancel(10)],
            ),
            lines: &[(30, 1, "was cancelled: request 0")],
        },
        Case {
            name: "4. three deadlines in a set, of which two are kept and not polled",
            program: one(stream([limited(), limited(), limited()], task(sleep(60))), [cancel(10)]),
            lines: &[(1, 1, "branch 2 gave elapsed"), (10, 1, "was cancelled: request 0")],
        },
        Case {
            name: "4. the same, and it ends by itself",
            program: one(stream([limited(), limited(), limited()], task(sleep(60))), []),
            lines: &[
                (61, 1, "branch 5 gave elapsed"),
                (121, 1, "branch 8 gave elapsed"),
                (181, 1, "ended with a value"),
            ],
        },
        Case {
            name: "4. the same under a deadline",
            program: one(
                tried(timeout(10, stream([limited(), limited(), limited()], task(sleep(60))))),
                [],
            ),
            lines: &[(10, 2, "has elapsed"), (10, 1, "ended with a value")],
        },
        Case {
            name: "5. of two deadlines that are equal the outer one answers",
            program: one(timeout(5, seq([tried(timeout(5, task(pending()))), pending()])), []),
            lines: &[(5, 1, "returns elapsed"), (5, 4, "!has elapsed")],
        },
        Case {
            name: "6. what a shield held of a deadline is over with the deadline",
            program: one(
                seq([tried(timeout(5, join([shield(sleep(8)), returning(pending())]))), sleep(1)]),
                [],
            ),
            lines: &[(8, 3, "has elapsed"), (9, 1, "ended with a value")],
        },
        Case {
            name: "7. one rethrows, one accepts",
            program: one(join([rethrowing(pending()), accepting(pending())]), [cancel(1)]),
            lines: &[(1, 1, "was cancelled: request 0")],
        },
        Case {
            name: "8. an await that waits for the effect of a request is lost",
            program: one(seq([select(task(tidy(5)), sleep(3), Drop), sleep(3600)]), [cancel(1)]),
            lines: &[(3, 1, "was cancelled: request 0"), (6, 4, "was cancelled: request 0")],
        },
        Case {
            name: "8. the same, and the await is kept",
            program: one(select(task(tidy(5)), sleep(3), park(sleep(3600))), [cancel(1)]),
            lines: &[(3, 1, "was cancelled: request 0"), (6, 3, "was cancelled: request 0")],
        },
        Case {
            name: "9. a parked await is not told of what others have accepted",
            program: one(
                select(
                    task(pending()),
                    sleep(2),
                    Park { then: Box::new(accepting(sleep(2))), resume: true },
                ),
                [cancel(3)],
            ),
            lines: &[(3, 5, "heard Requested: request 0"), (0, 3, "!was cancelled: request 0")],
        },
        Case {
            name: "10. a scope under a shield in a shield",
            program: one(
                join([accepting(pending()), shield(seq([shield(sleep(3)), returning(sleep(4))]))]),
                [cancel(1)],
            ),
            lines: &[(7, 9, "is through"), (7, 1, "ended with a value")],
        },
        Case {
            name: "11. two that await one another, one through a group",
            program: Program::new(
                vec![Step::new(Act::AwaitTask(1)), group([Step::new(Act::AwaitTask(0))], log())],
                vec![(5, Request::Interrupt)],
            )
            .numbered(),
            lines: &[
                (5, 1, "was cancelled: interrupted"),
                (5, 2, "was cancelled: interrupted"),
                (5, 3, "was cancelled: interrupted"),
            ],
        },
        Case {
            name: "12. finally around what panics in its drop",
            program: one(finally(Step::new(Act::Bomb), sleep(1)), [cancel(1)]),
            lines: &[(1, 1, "cleans up"), (2, 1, "has cleaned up"), (2, 1, "has failed")],
        },
        Case {
            name: "13. finally lets the cancellation go outward, to a scope",
            program: one(seq([accepting(finally(pending(), log())), log()]), [cancel(1)]),
            lines: &[(1, 2, "heard Requested: request 0"), (1, 3, "!gave"), (1, 7, "is here")],
        },
        Case {
            name: "13. the same with no scope around",
            program: one(tried(finally(pending(), log())), [cancel(1)]),
            lines: &[(1, 1, "was cancelled: request 0"), (1, 2, "!gave"), (1, 1, "!tried")],
        },
        Case {
            name: "14. main cancels itself, and awaits a child that was not polled yet",
            program: one(seq([Step::new(Act::CancelSelf), task(log())]), []),
            lines: &[(0, 4, "!is here"), (0, 1, "was cancelled: by itself at 2")],
        },
        Case {
            name: "16. a total budget around attempts with a limit each",
            program: one(timeout(25, repeat(9, tried(timeout(10, tidy(7))))), []),
            lines: &[(34, 1, "returns elapsed")],
        },
        Case {
            name: "16. a group whose child fails while its body is in such an attempt",
            program: one(
                group(
                    [seq([sleep(25), Step::new(Act::Fail)])],
                    repeat(9, tried(timeout(10, tidy(7)))),
                ),
                [],
            ),
            lines: &[(34, 1, "gave group [failure 4]")],
        },
        Case {
            name: "17. a gather that has ended waits for an await beside it",
            program: one(join([gather([tidy(7)]), returning(task(tidy(9)))]), [cancel(1)]),
            lines: &[(10, 1, "was cancelled: request 0")],
        },
        Case {
            name: "17. the same in a set",
            program: one(
                Step::new(Act::Set(vec![gather([tidy(7)]), returning(task(tidy(9)))])),
                [cancel(1)],
            ),
            lines: &[(10, 1, "was cancelled: request 0")],
        },
        Case {
            name: "17. the same under a deadline",
            program: one(timeout(1, join([gather([tidy(7)]), returning(task(tidy(9)))])), []),
            lines: &[(10, 1, "has elapsed"), (10, 1, "returns elapsed")],
        },
        Case {
            name: "17. the same in a group whose child fails",
            program: one(
                group(
                    [seq([sleep(1), Step::new(Act::Fail)])],
                    join([gather([tidy(7)]), returning(task(tidy(9)))]),
                ),
                [],
            ),
            lines: &[(10, 1, "gave group [failure 4]")],
        },
        Case {
            name: "18. an await beside a shield",
            program: one(join([task(tidy(7)), shield(sleep(13))]), [cancel(1)]),
            lines: &[(13, 1, "was cancelled: request 0"), (8, 3, "was cancelled: request 0")],
        },
    ]
}

/// What random programs have found since, each as small as it gets.
fn found() -> Vec<Case> {
    let cancel_self = || Step::new(Act::CancelSelf);
    vec![
        Case {
            name: "what was heard has been heard, also if a panic goes out of a deadline after it",
            program: one(
                seq([
                    cancel_self(),
                    timeout(
                        1,
                        finally(
                            timeout(1, finally(finally(sleep(1), sleep(1)), Step::new(Act::Panic))),
                            sleep(3),
                        ),
                    ),
                ]),
                [],
            ),
            lines: &[(4, 4, "has cleaned up"), (0, 3, "!has elapsed")],
        },
        Case {
            name: "of two requests in spite of which a task returns the latest counts",
            program: {
                let lost = join([task(pending()), shield(pending())]);
                let forgets = Step { label: ANOTHER, act: select(lost, sleep(24), Forget).act };
                let requests = [(7, Request::Interrupt), (14, Request::Cancel(ANOTHER))];
                one(shield(task(forgets)), requests)
            },
            lines: &[(24, 2, "was given cancelled task: request 1")],
        },
        Case {
            name: "an await in a loop around a set, and two requests of which the second is heard",
            program: one(
                stream([task(sleep(26)), shield(sleep(11))], accepting(pending())),
                [cancel(7), cancel(10)],
            ),
            lines: &[(11, 4, "is through")],
        },
        Case {
            name: "the same, and the scope cleans up for a while",
            program: one(
                stream(
                    [task(sleep(26)), shield(sleep(11))],
                    scope_then(group([], sleep(22)), sleep(13), After::Accept),
                ),
                [cancel(7), cancel(10)],
            ),
            lines: &[(11, 4, "is through")],
        },
        Case {
            name: "a gather that lost a `select!`, and two requests of which the second is heard",
            program: one(
                select(
                    join([shield(pending()), gather([pending()])]),
                    sleep(25),
                    resumed_after(accepting(pending())),
                ),
                [cancel(1), cancel(16)],
            ),
            lines: &[(1, 6, "was cancelled: request 0")],
        },
        Case {
            name: "a second request is for a shield that came since, while the first waits for it",
            program: one(
                join([
                    gather([log()]),
                    timeout(
                        4,
                        join([
                            repeat(2, tried(shield(task(timeout(2, pending()))))),
                            cancel_self(),
                            pending(),
                        ]),
                    ),
                ]),
                [cancel(2)],
            ),
            lines: &[(0, 4, "!has elapsed"), (4, 1, "was cancelled: by itself at 12")],
        },
        Case {
            name: "a scope that lost a `select!` is not told of what others have heard meanwhile",
            program: one(
                select(
                    returning(join([shield(sleep(19)), pending()])),
                    sleep(13),
                    resumed_after(accepting(task(log()))),
                ),
                [cancel(1)],
            ),
            lines: &[(13, 9, "heard Requested: request 0"), (0, 2, "!heard Requested: request 0")],
        },
        Case {
            name: "a gather that lost a `select!` sends nothing while others send the same",
            program: one(
                finally(
                    Step::new(Act::Gather(
                        Kind::TryGather,
                        vec![
                            join([
                                accepting(join([
                                    Step::new(Act::AwaitTask(0)),
                                    finally(sleep(800), log()),
                                ])),
                                select(gather([sleep(24)]), sleep(10), resumed_after(sleep(11))),
                            ]),
                            Step::new(Act::Panic),
                        ],
                    )),
                    sleep(19),
                ),
                [],
            ),
            lines: &[(21, 15, "has slept"), (21, 3, "has failed")],
        },
        Case {
            name: "what a deadline has asked is stopped beside a request, and answered with it",
            program: one(
                timeout(
                    13,
                    join([
                        shield(sleep(16)),
                        scope_then(
                            group([scope_then(sleep(19), sleep(10), After::Drop)], log()),
                            sleep(25),
                            After::Drop,
                        ),
                    ]),
                ),
                [(14, Request::Interrupt)],
            ),
            lines: &[(39, 1, "is in time")],
        },
        Case {
            name: "a kept deadline acts again when one around it has stopped what went outward",
            program: one(
                kept(
                    timeout(15, group([shield(sleep(27))], sleep(13))),
                    seq([tried(timeout(2, by_reference())), timeout(16, by_reference())]),
                ),
                [],
            ),
            lines: &[(27, 2, "has elapsed"), (27, 11, "is in time")],
        },
        Case {
            name: "a kept group is further out than a deadline in it, wherever it is awaited",
            program: one(
                kept(
                    group(
                        [timeout(5, pending())],
                        timeout(
                            20,
                            group([scope_then(sleep(23), pending(), After::Rethrow)], log()),
                        ),
                    ),
                    select(timeout(29, by_reference()), sleep(19), Drop),
                ),
                [],
            ),
            lines: &[(20, 1, "returns group [elapsed]")],
        },
        Case {
            name: "what a group has passed on beside another comes to nothing, and its owner acts",
            program: one(
                seq([
                    sleep(3),
                    timeout(
                        3,
                        timeout(
                            4,
                            join([
                                returning(sleep(3)),
                                group([shield(timeout(4, pending()))], log()),
                                pending(),
                            ]),
                        ),
                    ),
                ]),
                [cancel(4)],
            ),
            lines: &[(7, 3, "has elapsed"), (0, 4, "!has elapsed")],
        },
        Case {
            name: "a kept deadline that lets one around it go first, by a waker of its own",
            program: one(
                kept(
                    returning(Step::new(Act::Concurrent(vec![
                        shield(pending()),
                        timeout(20, sleep(29)),
                    ]))),
                    timeout(7, select(by_reference(), sleep(27), Drop)),
                ),
                [],
            ),
            lines: &[(27, 6, "has elapsed")],
        },
        Case {
            name: "a kept deadline of which one has heard, and which went outward with another",
            program: one(
                kept(
                    timeout(
                        8,
                        join([
                            scope_then(pending(), cancel_self(), After::Drop),
                            group([sleep(25)], sleep(22)),
                        ]),
                    ),
                    scope(by_reference(), After::Drop),
                ),
                [],
            ),
            lines: &[(8, 1, "returns elapsed")],
        },
    ]
}

// 15 is about cost, and 19 about another executor:

#[test]
fn a_gather_with_a_task_of_another_executor_waits_for_those_that_it_asked() {
    use hearken::{Executor, ManualClock, finally, gather, sleep};
    use std::future::pending;
    use std::time::Duration;
    let clock = ManualClock::new();
    let here = Executor::builder().clock(clock.clone()).build();
    let there = Executor::builder().clock(clock.clone()).build();
    let foreign = there.spawn(pending::<anyhow::Result<()>>());
    there.run_until_idle();
    let main = here.spawn(async move {
        let own = hearken::spawn(finally(pending(), async || {
            sleep(Duration::from_secs(3)).await;
            Ok(())
        }));
        gather([own, foreign]).await?;
        Ok(())
    });
    here.run_until_idle();
    main.cancel();
    here.run_until_idle();
    assert!(!main.is_finished());
    clock.advance(Duration::from_secs(3));
    here.run_until_idle();
    assert!(main.is_cancelled());
}

// ---- Programs, in few words ----------------------------------------------------

fn one<const N: usize>(task: Step, requests: [(Moment, Request); N]) -> Program {
    let mut program = Program::new(vec![task], requests.to_vec());
    program.tasks[0].label = FIRST;
    program.numbered()
}

/// The label of the first task, before the steps are numbered.
const FIRST: u32 = u32::MAX;

/// The same of another.
const ANOTHER: u32 = u32::MAX - 1;

fn cancel(at: Moment) -> (Moment, Request) {
    (at, Request::Cancel(FIRST))
}

fn log() -> Step {
    Step::new(Act::Log)
}

fn pending() -> Step {
    Step::new(Act::Pending)
}

fn sleep(duration: Moment) -> Step {
    Step::new(Act::Sleep(duration))
}

fn seq<const N: usize>(parts: [Step; N]) -> Step {
    Step::new(Act::Seq(parts.to_vec()))
}

fn repeat(times: u32, part: Step) -> Step {
    Step::new(Act::Repeat(times, Box::new(part)))
}

fn tried(part: Step) -> Step {
    Step::new(Act::Try(Box::new(part)))
}

fn accepting(inside: Step) -> Step {
    scope(inside, After::Accept)
}

fn returning(inside: Step) -> Step {
    scope(inside, After::Return)
}

fn rethrowing(inside: Step) -> Step {
    scope(inside, After::Rethrow)
}

fn scope(inside: Step, after: After) -> Step {
    scope_then(inside, log(), after)
}

fn scope_then(inside: Step, cleanup: Step, after: After) -> Step {
    Step::new(Act::Scope { inside: Box::new(inside), cleanup: Box::new(cleanup), after })
}

fn shield(inside: Step) -> Step {
    Step::new(Act::Shield(Box::new(inside)))
}

fn timeout(limit: Moment, inside: Step) -> Step {
    Step::new(Act::Timeout(limit, Box::new(inside)))
}

fn finally(inside: Step, cleanup: Step) -> Step {
    Step::new(Act::Finally { inside: Box::new(inside), cleanup: Box::new(cleanup) })
}

fn tidy(duration: Moment) -> Step {
    finally(pending(), sleep(duration))
}

fn task(body: Step) -> Step {
    Step::new(Act::Await(Box::new(body)))
}

fn limited() -> Step {
    timeout(1, task(pending()))
}

fn gather<const N: usize>(bodies: [Step; N]) -> Step {
    Step::new(Act::Gather(Kind::Gather, bodies.to_vec()))
}

fn group<const N: usize>(tasks: [Step; N], body: Step) -> Step {
    Step::new(Act::Group { tasks: tasks.to_vec(), body: Box::new(body) })
}

fn join<const N: usize>(parts: [Step; N]) -> Step {
    Step::new(Act::Join(parts.to_vec()))
}

fn stream<const N: usize>(parts: [Step; N], each: Step) -> Step {
    Step::new(Act::Stream { parts: parts.to_vec(), each: Box::new(each) })
}

fn select(first: Step, second: Step, loser: Loser) -> Step {
    Step::new(Act::Select { first: Box::new(first), second: Box::new(second), loser })
}

fn park(then: Step) -> Loser {
    Park { then: Box::new(then), resume: false }
}

fn resumed_after(then: Step) -> Loser {
    Park { then: Box::new(then), resume: true }
}

fn kept(kept: Step, user: Step) -> Step {
    Step::new(Act::Keep { kept: Box::new(kept), user: Box::new(user), resume: true })
}

/// What the nearest step around keeps.
fn by_reference() -> Step {
    Step::new(Act::Kept)
}
