use hearken::*;
use std::cell::RefCell;
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

#[derive(Clone, Default)]
struct Said(Rc<RefCell<Vec<String>>>);
impl Said {
    fn say(&self, s: impl Into<String>) { self.0.borrow_mut().push(s.into()); }
    fn lines(&self) -> Vec<String> { self.0.borrow().clone() }
}
fn auto() -> Executor { Executor::builder().clock(ManualClock::auto()).debug(true).build() }
const S: fn(u64) -> Duration = Duration::from_secs;

#[test]
fn scope_cleanup_awaits() {
    let ex = auto();
    let said = Said::default();
    let s = said.clone();
    let t = ex.spawn(async move {
        let r = scope(pending::<()>()).await;
        s.say("cleanup");
        sleep(S(1)).await;
        s.say("cleaned");
        Ok(r?)
    });
    ex.run_until_idle();
    t.cancel_with("bye");
    ex.run_until_idle();
    assert_eq!(said.lines(), ["cleanup", "cleaned"]);
    assert!(t.is_cancelled());
    assert!(ex.ledger().balances());
}

#[test]
fn shield_then_first_suspension() {
    let ex = auto();
    let said = Said::default();
    let s = said.clone();
    let t = ex.spawn(async move {
        shield(sleep(S(2))).await;
        s.say("shielded");
        sleep(S(1)).await;
        s.say("never");
        Ok(())
    });
    ex.turn(Budget::Batch);
    t.cancel();
    ex.run_until_idle();
    assert_eq!(said.lines(), ["shielded"]);
    assert!(t.is_cancelled());
}

#[test]
fn awaiting_forwards_and_waits() {
    let ex = auto();
    let said = Said::default();
    let s = said.clone();
    let parent = ex.spawn(async move {
        let s2 = s.clone();
        let child = spawn(async move {
            let r = scope(pending::<()>()).await;
            s2.say("child cleans");
            sleep(S(1)).await;
            s2.say("child done");
            Ok(r?)
        });
        let r = scope(child).await;
        s.say("parent told");
        r?.map_err(anyhow::Error::from)
    });
    ex.run_until_idle();
    parent.cancel();
    ex.run_until_idle();
    assert_eq!(said.lines(), ["child cleans", "child done", "parent told"]);
    assert!(parent.is_cancelled());
}

#[test]
fn child_swallows_request_is_armed_again() {
    let ex = auto();
    let said = Said::default();
    let s = said.clone();
    let parent = ex.spawn(async move {
        let child = spawn(async move {
            let _ = scope(pending::<()>()).await;
            Ok(7)
        });
        let v = child.await?;
        s.say(format!("got {v}"));
        sleep(S(1)).await;
        s.say("never");
        Ok(())
    });
    ex.run_until_idle();
    parent.cancel();
    ex.run_until_idle();
    assert_eq!(said.lines(), ["got 7"]);
    assert!(parent.is_cancelled());
}

#[test]
fn timeout_runs_inner_cleanup_first() {
    let ex = auto();
    let r = ex.block_on(async {
        let r = timeout(S(1), async {
            finally(async { sleep(S(10)).await; Ok(1) }, async || { sleep(S(2)).await; Ok(()) }).await
        }).await;
        assert_eq!(now().as_nanos(), 3_000_000_000);
        assert!(matches!(r, Err(Elapsed)));
        // swallowed: value is the answer
        let r = timeout(S(1), async { let _ = scope(sleep(S(10))).await; 5 }).await;
        assert_eq!(r, Ok(5));
        // nested: outermost wins
        let r = timeout(S(1), timeout(S(1), pending::<()>())).await;
        assert_eq!(r, Err(Elapsed));
        let r = timeout(S(2), timeout(S(1), pending::<()>())).await;
        assert_eq!(r, Ok(Err(Elapsed)));
        // awaiting a task
        let child = spawn(async { let r = scope(pending::<()>()).await; sleep(S(1)).await; Ok(r?) });
        let seen = child.task_ref();
        let r = timeout(S(1), child).await;
        assert!(matches!(r, Err(Elapsed)), "{r:?}");
        assert!(seen.is_finished());
        // shield inside
        let before = now();
        let r = timeout(S(1), async { shield(sleep(S(5))).await; sleep(S(5)).await }).await;
        assert_eq!(r, Err(Elapsed));
        assert_eq!(now() - before, S(5));
        Ok(())
    });
    r.unwrap();
}

#[test]
fn gather_cancel_cancels_children() {
    let ex = auto();
    let said = Said::default();
    let s = said.clone();
    let t = ex.spawn(async move {
        let children = (0..3).map(|n| { let s = s.clone(); spawn(async move {
            let r = scope(pending::<()>()).await;
            sleep(S(n)).await;
            s.say(format!("child {n}"));
            Ok(r?)
        })});
        gather(children).await?;
        Ok(())
    });
    ex.run_until_idle();
    t.cancel();
    ex.run_until_idle();
    assert_eq!(said.lines(), ["child 0", "child 1", "child 2"]);
    assert!(t.is_cancelled());
    assert!(ex.ledger().balances());
    assert_eq!(ex.ledger().live, 0);
}

#[test]
fn group_collects() {
    let ex = auto();
    let said = Said::default();
    let s = said.clone();
    let r = ex.block_on(async move {
        let r: Result<(), GroupError> = group(async |g: Group| {
            let bad = g.spawn(async { sleep(S(1)).await; Err::<(), _>(anyhow::anyhow!("bad")) });
            let s1 = s.clone();
            g.spawn(async move { let r = scope(pending::<()>()).await; sleep(S(1)).await; s1.say("sibling cleaned"); Ok(r?) }).detach();
            g.spawn(async move { scope(pending::<()>()).await.ok(); anyhow::bail!("in cleanup"); #[allow(unreachable_code)] Ok(()) }).detach();
            let r = scope(pending::<()>()).await;
            s.say("body told");
            drop(bad);
            r?;
            Ok(())
        }).await;
        let e = r.unwrap_err();
        assert_eq!(e.errors().iter().map(|e| e.to_string()).collect::<Vec<_>>(), ["bad", "in cleanup"]);
        assert_eq!(current().cancelling(), 0);
        Ok(())
    });
    r.unwrap();
    assert_eq!(said.lines(), ["body told", "sibling cleaned"]);
    assert!(ex.ledger().balances(), "{}", ex.ledger());
    assert_eq!(ex.ledger().held, 0);
}

#[test]
fn group_cancelled_from_outside() {
    let ex = auto();
    let said = Said::default();
    let s = said.clone();
    let t = ex.spawn(async move {
        group(async |g: Group| {
            let s1 = s.clone();
            g.spawn(async move { let r = scope(pending::<()>()).await; sleep(S(1)).await; s1.say("child cleaned"); Ok(r?) }).detach();
            pending::<anyhow::Result<()>>().await
        }).await?;
        Ok(())
    });
    ex.run_until_idle();
    t.cancel();
    ex.run_until_idle();
    assert_eq!(said.lines(), ["child cleaned"]);
    assert!(t.is_cancelled());
}

#[test]
fn forgotten_scope_neither_swallows_nor_blocks() {
    let ex = auto();
    let t = ex.spawn(async move {
        let mut f = Box::pin(scope(pending::<()>()));
        assert!(futures::poll!(&mut f).is_pending());
        std::mem::forget(f);
        sleep(S(100)).await;
        Ok(())
    });
    ex.turn(Budget::Batch);
    t.cancel();
    for _ in 0..10 { ex.turn(Budget::Polls(1)); }
    assert!(t.is_cancelled());
}

#[test]
fn join_branches_each_get_it() {
    let ex = auto();
    let said = Said::default();
    let s = said.clone();
    let t = ex.spawn(async move {
        let b = |n: u64| { let s = s.clone(); async move { let r = scope(pending::<()>()).await; sleep(S(n)).await; s.say(format!("branch {n}")); r } };
        let (a, _b) = futures::join!(b(2), b(1));
        a?;
        Ok(())
    });
    ex.run_until_idle();
    t.cancel();
    ex.run_until_idle();
    assert_eq!(said.lines(), ["branch 1", "branch 2"]);
    assert!(t.is_cancelled());
}

#[test]
fn unordered_branches_each_get_it() {
    use futures::StreamExt;
    let ex = auto();
    let said = Said::default();
    let s = said.clone();
    let t = ex.spawn(async move {
        let mut all: futures::stream::FuturesUnordered<_> = (0..100).map(|n: u64| { let s = s.clone(); async move { let r = scope(pending::<()>()).await; sleep(S(1)).await; s.say(format!("branch {n}")); r } }).collect();
        let mut last = Ok(());
        while let Some(r) = all.next().await { last = r; }
        Ok(last?)
    });
    ex.run_until_idle();
    t.cancel();
    ex.run_until_idle();
    assert_eq!(said.lines().len(), 100);
    assert!(t.is_cancelled());
}

#[test]
fn rethrow_goes_outward() {
    let ex = auto();
    let said = Said::default();
    let s = said.clone();
    let t = ex.spawn(async move {
        let r = scope(async {
            match scope(pending::<()>()).await {
                Ok(()) => 1,
                Err(c) => { s.say("inner"); c.rethrow().await }
            }
        }).await;
        s.say("outer");
        r?;
        Ok(())
    });
    ex.run_until_idle();
    t.cancel();
    ex.run_until_idle();
    assert_eq!(said.lines(), ["inner", "outer"]);
    assert!(t.is_cancelled());
}
