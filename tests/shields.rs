//! What must finish: `shield`.

mod common;

use std::future::pending;

use common::{Play, Spilled, failing, secs};
use hearken::{
    Task, TaskCancelled, TaskState, current, now, scope, shield, sleep, timeout, yield_now,
};

// promise 4.7
#[test]
fn a_request_waits_until_the_shield_is_through_and_hits_the_first_suspension_after_it() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        shield(sleep(secs(2))).await;
        said.say("the shield is through");
        let _dropped = said.finally("dropped");
        sleep(secs(1)).await;
        said.say("never");
        Ok(())
    });
    play.turn();

    assert!(task.cancel_with("hurry"));
    assert!(play.turn().is_empty());
    assert_eq!(play.run(), ["the shield is through", "dropped"]);
    assert!(task.is_cancelled());
    assert_eq!(play.world.executor.now().as_nanos(), 2_000_000_000);
    drop(task);
    play.close();
}

// promise 4.3, 4.7
#[test]
fn several_requests_during_a_shield_are_one_and_the_first_reason_counts() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        shield(sleep(secs(2))).await;
        let work = scope(pending::<()>()).await;
        said.say(work.unwrap_err().reason());
        let again = scope(sleep(secs(1))).await;
        said.say(format!("told again: {}", again.is_err()));
        Ok(())
    });
    play.turn();

    for reason in ["first", "second", "third"] {
        task.cancel_with(reason);
        play.turn();
    }
    assert_eq!(play.run(), ["first", "told again: false"]);
    drop(task);
    play.close();
}

// promise 4.7
#[test]
fn scopes_under_a_shield_are_not_told_and_the_one_around_it_is_afterwards() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let around = scope(async {
            let under = shield(scope(sleep(secs(2)))).await;
            said.say(format!("under it: {:?}", under.is_err()));
            yield_now().await;
            said.say("never");
        });
        let around = around.await;
        said.say("around it: told");
        Ok(around?)
    });
    play.turn();

    task.cancel();
    assert_eq!(play.run(), ["under it: false", "around it: told"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// promise 4.6, 4.7
#[test]
fn a_scope_that_does_not_suspend_after_its_shield_keeps_its_value() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let around = scope(async {
            shield(sleep(secs(2))).await;
            "the receipt"
        });
        said.say(around.await.unwrap_or("lost"));
        let next = scope(yield_now()).await;
        said.say("the next scope is told");
        Ok(next?)
    });
    play.turn();

    task.cancel();
    assert_eq!(play.run(), ["the receipt", "the next scope is told"]);
    drop(task);
    play.close();
}

// promise 4.6
#[test]
fn a_value_after_a_shield_that_held_a_request_back_is_dropped_and_an_error_stands() {
    let play = Play::new();
    let value = play.spawn(|said| async move {
        shield(sleep(secs(1))).await;
        Ok(said.finally("the value is dropped"))
    });
    let error = play.spawn(|_| async move {
        shield(sleep(secs(1))).await;
        Err::<(), _>(Spilled("tea").into())
    });
    play.turn();

    value.cancel();
    error.cancel();
    assert_eq!(play.run(), ["the value is dropped"]);
    assert!(value.is_cancelled());
    assert!(error.error().unwrap().unwrap().is::<Spilled>());
    drop((value, error));
    play.close();
}

// promise 4.7, 4.10
#[test]
fn a_request_that_a_shield_holds_back_can_be_taken_back() {
    let play = Play::new();
    let task = play.spawn(|_| async move {
        shield(sleep(secs(1))).await;
        yield_now().await;
        Ok(7)
    });
    play.turn();

    task.cancel();
    play.turn();
    assert_eq!(task.uncancel(), 0);
    play.run();
    assert_eq!(*task.result().unwrap(), 7);
    drop(task);
    play.close();
}

// promise 4.7
#[test]
fn an_inner_shield_that_is_through_does_not_open_the_outer_one() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let outer = async {
            shield(sleep(secs(1))).await;
            sleep(secs(1)).await;
            said.say("the outer shield is through");
        };
        shield(outer).await;
        sleep(secs(1)).await;
        said.say("never");
        Ok(())
    });
    play.turn();

    task.cancel();
    assert_eq!(play.run(), ["the outer shield is through"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// row 57
// promise 4.6, 4.7
#[test]
fn a_request_to_oneself_under_a_shield_waits_too() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let shielded = async {
            current().cancel();
            sleep(secs(1)).await;
            said.say("the shield is through");
        };
        shield(shielded).await;
        yield_now().await;
        said.say("never");
        Ok(())
    });

    assert_eq!(play.said.lines(), ["the shield is through"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// promise 4.7
#[test]
fn dropping_a_shield_drops_what_is_in_it() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let shielded = async {
            let _dropped = said.finally("dropped");
            pending::<()>().await;
        };
        futures::select_biased! {
            () = futures::FutureExt::fuse(Box::pin(shield(shielded))) => {}
            () = futures::FutureExt::fuse(yield_now()) => said.say("the other has won"),
        }
        let work = scope(pending::<()>()).await; // nothing holds the request back
        Ok(work?)
    });

    assert_eq!(play.said.lines(), ["dropped", "the other has won"]);
    task.cancel();
    play.run();
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// promise 4.4, 4.7
#[test]
fn a_shielded_branch_does_not_keep_the_others_from_being_told() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let writes = async {
            shield(sleep(secs(2))).await;
            said.say("written");
        };
        let reads = async {
            let work = scope(pending::<()>()).await;
            said.say("reader told");
            work
        };
        let ((), work) = futures::join!(writes, reads);
        Ok(work?)
    });
    play.turn();

    task.cancel();
    assert_eq!(play.run(), ["reader told", "written"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// promise 4.4, 4.7
#[test]
fn a_shielded_branch_hears_the_request_when_it_is_through() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let writes = scope(async {
            shield(sleep(secs(2))).await;
            said.say("written");
            sleep(secs(60)).await;
            said.say("never");
        });
        let reads = async {
            let work = scope(pending::<()>()).await;
            said.say("reader told");
            work
        };
        let (written, _) = futures::join!(writes, reads);
        said.say("both told");
        Ok(written?)
    });
    play.turn();

    task.cancel();
    assert_eq!(play.run(), ["reader told", "written", "both told"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// promise 4.7
#[test]
fn a_bare_branch_beside_a_shield_lives_until_the_shield_is_through() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let bare = async {
            let _dropped = said.finally("bare dropped");
            pending::<()>().await;
        };
        let writes = async {
            shield(sleep(secs(2))).await;
            said.say("written");
        };
        futures::join!(writes, bare);
        Ok(())
    });
    play.turn();

    task.cancel();
    assert_eq!(play.run(), ["written", "bare dropped"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// row 77, thread 47; test 30: asyncio's waiter goes at once, this one waits.
// promise 4.7, 4.8
#[test]
fn a_shielded_task_is_not_cancelled_and_its_waiter_waits() {
    let play = Play::new();
    let inner = play.spawn(|said| async move {
        sleep(secs(2)).await;
        said.say("inner done");
        Ok(7)
    });
    let inner_ref = inner.task_ref();
    let outer = play.spawn(|said| async move {
        let seven = shield(inner).await?;
        said.say(format!("outer has {seven}"));
        yield_now().await;
        said.say("never");
        Ok(())
    });
    play.turn();

    outer.cancel();
    assert_eq!(play.run(), ["inner done", "outer has 7"]);
    assert!(outer.is_cancelled());
    assert_eq!(inner_ref.cancelling(), 0);
    drop((outer, inner_ref));
    play.close();
}

// row 77; tests 30: inner cancelled, inner done
// promise 4.7
#[test]
fn a_shielded_task_that_is_cancelled_or_done_answers_as_it_would_without() {
    let play = Play::new();
    let cancelled = play.start(|_| pending::<anyhow::Result<()>>());
    let done = play.start(|_| async { Ok(7) });
    cancelled.cancel_with("elsewhere");
    let outer = play.start(|said| async move {
        said.say(format!("{:?}", shield(done).await.ok()));
        let error = anyhow::Error::from(shield(cancelled).await.unwrap_err());
        said.say(error.downcast::<TaskCancelled>()?.reason());
        Ok(())
    });

    assert_eq!(play.said.lines(), ["Some(7)", "elsewhere"]);
    assert_eq!(outer.info().state(), TaskState::Succeeded);
    drop(outer);
    play.close();
}

// row 29, threads 33 and 34; test 30: a shielded task that fails after the request.
// promise 3.7, 4.7
#[test]
fn a_shielded_task_that_fails_after_the_request_is_heard_of() {
    let play = Play::new();
    let inner = play.spawn(|_| async move {
        sleep(secs(2)).await;
        failing().await
    });
    let outer = play.spawn(|_| async move { Ok(shield(inner).await?) });
    play.turn();

    outer.cancel();
    play.run();
    let error = outer.error().unwrap().unwrap();
    assert!(error.is::<Spilled>(), "an error stands: {error:?}"); // 4.6
    drop(outer);
    assert!(play.close().kinds().is_empty(), "and is not reported on top of that");
}

// thread 47: a shield does not hold off stage two.
// promise 6.2
#[test]
fn the_second_interrupt_goes_through_a_shield() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let shielded = async {
            let work = scope(pending::<()>()).await;
            said.say(format!("told: {}", work.unwrap_err().reason()));
        };
        shield(shielded).await;
        Ok(())
    });

    let interrupter = play.world.executor.interrupter();
    interrupter.interrupt();
    play.turn(); // the interrupt is taken in
    assert!(play.turn().is_empty());
    interrupter.interrupt();
    play.turn();
    assert_eq!(play.turn(), ["told: interrupted again"]);
    drop(task);
    play.close();
}

// Its scope has heard already by way of the one inside, though another shield in it
// went on for longer.
// promise 4.7, 4.13
#[test]
fn the_scope_around_is_not_told_after_one_inside_of_it_whichever_shield_ends_first() {
    for (long, short) in [(4, 2), (2, 4), (3, 3)] {
        let play = Play::new();
        let task = play.spawn(|said| async move {
            let inner = async {
                let told = scope(async {
                    shield(sleep(secs(short))).await;
                    pending::<()>().await
                });
                told.await.unwrap_err().accept();
                said.say("inner told");
                sleep(secs(60)).await;
            };
            let outer = scope(async {
                let written = async {
                    shield(sleep(secs(long))).await;
                    sleep(secs(60)).await;
                };
                futures::join!(written, inner)
            });
            let beside = async { scope(pending::<()>()).await.unwrap_err().accept() };
            let (outer, ()) = futures::join!(outer, beside);
            said.say(format!("outer told: {}", outer.is_err()));
            Ok(())
        });
        play.turn();
        task.cancel();
        assert_eq!(play.run(), ["inner told", "outer told: false"], "{long} {short}");
        drop(task);
        play.close();
    }
}

/// The deadline has passed under the first shield, and would tell the second one of itself
/// at the moment at which the scope takes what others have heard of.
// promise 4.7, 4.9
#[test]
fn a_scope_hears_of_what_its_shield_held_although_a_deadline_passes_in_it() {
    let play = Play::new();
    let task: Task<()> = play.spawn(|said| async move {
        let limited = timeout(secs(7), async {
            for _ in 0..2 {
                shield(sleep(secs(11))).await;
            }
        });
        let told = async {
            said.say(scope(limited).await.expect_err("it is told").reason().to_owned());
            said.say(format!("{} s", now().as_nanos() / 1_000_000_000));
        };
        let beside = async { scope(pending::<()>()).await.expect_err("it is told").accept() };
        futures::join!(told, beside);
        Ok(())
    });
    play.turn();
    task.cancel_with("hurry");
    assert_eq!(play.run(), ["hurry", "11 s"]);
    drop(task);
    play.close();
}
