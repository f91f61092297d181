//! The tests of the rules: all that can happen in a poll, without futures.
//!
//! Where one poll is looked at everything is tried that can be met in it. What is
//! to come out is told once more in a different way: as the reasons that there are.
//! Where invariants are about several polls, all short sequences are tried.

use super::*;
use crate::request::{Answered, Origin, Rank, Request, Why};

const HERE: u64 = 1;
const ELSEWHERE: u64 = 2;

fn delivery(rank: Rank, order: u64, through_shields: bool) -> Arc<Delivery> {
    let why = Why::of(Origin::Requested, "try all");
    let request = Request { id: order, why, through_shields };
    Delivery::new(request, Name::from_bits(HERE), rank, order)
}

/// One of the task and one of a deadline in it, and two of the task. The first
/// of a pair is the one that counts.
fn pairs(through_shields: bool) -> [[Arc<Delivery>; 2]; 2] {
    let new = |rank, order| delivery(rank, order, through_shields);
    let task = Rank::TASK;
    [[new(task, 1), new(task.inside(), 2)], [new(task, 2), new(task, 1)]]
}

/// Everything that can be met inside and matters here, each of it or not.
fn all_roles() -> impl Iterator<Item = Roles> {
    let each = [
        Roles::TOOK,
        Roles::NEWCOMER,
        Roles::SHIELD,
        Roles::NEW_SHIELD,
        Roles::OUTWARD,
        Roles::FORWARDS,
        Roles::INNER_FORWARDS,
    ];
    (0..128_u32).map(move |bits| {
        let some = each.iter().enumerate().filter(|(index, _)| bits >> index & 1 == 1);
        some.fold(Roles::NONE, |roles, (_, &role)| roles.and(role))
    })
}

/// Whether it is this one.
fn is(one: Option<&Arc<Delivery>>, this: &Arc<Delivery>) -> bool {
    one.is_some_and(|one| Arc::ptr_eq(one, this))
}

#[test]
fn what_counts_is_the_outer_owners_and_of_one_owner_the_latest() {
    for [first, other] in pairs(false) {
        assert!(counts_before(&first, &other) && !counts_before(&other, &first));
        assert!(is(Some(&outermost(first.clone(), other.clone())), &first));
        assert!(is(Some(&outermost(other, first.clone())), &first));
    }
}

#[test]
fn what_holds_an_asked_request_holds_it_on_its_way_outward_too() {
    for delivery in [false, true].into_iter().flat_map(pairs).flatten() {
        let _passed_on = PassedOn::new(delivery.clone());
        let holds = |inside: &Roles| inside.holds(&delivery);
        assert!(all_roles().filter(holds).all(|inside| inside.holds_outward(&delivery)));
    }
}

// ---- A place in between ------------------------------------------------------

/// Whether the request that a place remembers has been heard of, and where.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Heard {
    Nowhere,
    Elsewhere,
    /// In the poll that is over.
    Inside,
    /// Elsewhere, and its owner is through with it.
    Over,
}

/// A poll of a place.
#[derive(Clone, Copy)]
struct Polled<'a> {
    heard: Heard,
    carried: Option<&'a Arc<Delivery>>,
    outward: Option<&'a Arc<Delivery>>,
    inside: Roles,
}

/// Every hold, with everything that may have been carried, come outward and
/// been met, against the same told in a different way: for what reasons a place
/// may take a request, and for what reasons it may wait with one.
#[test]
fn a_place_takes_what_it_has_a_reason_to_and_waits_with_the_rest() {
    for bits in 0..16 {
        let has = |bit: u32| bits >> bit & 1 != 0;
        for both in pairs(has(0)) {
            let [first, other] = &both;
            let _passed_on = has(1).then(|| both.clone().map(PassedOn::new));
            let _sent = has(2).then(|| Sent::new(first.clone()));
            let _other_sent = has(3).then(|| Sent::new(other.clone()));
            try_all_polls(&both, Heard::Nowhere);
            both.iter().for_each(|delivery| delivery.set_heard());
            try_all_polls(&both, Heard::Elsewhere);
            try_all_polls(&both, Heard::Inside);
            both.iter().for_each(|delivery| delivery.set_over());
            try_all_polls(&both, Heard::Over);
        }
    }
}

fn try_all_polls(both: &[Arc<Delivery>; 2], heard: Heard) {
    let one_or_none = [None, Some(&both[0]), Some(&both[1])];
    for inside in all_roles() {
        for (carried, outward) in
            one_or_none.iter().flat_map(|&one| one_or_none.map(|other| (one, other)))
        {
            let polled = Polled { heard, carried, outward, inside };
            try_poll(both, polled, Hold::Nothing);
            for delivery in both {
                try_poll(both, polled, Hold::Held(delivery.clone()));
                try_poll(both, polled, Hold::Outward(delivery.clone(), None));
                for held in both {
                    let hold = Hold::Outward(delivery.clone(), Some(held.clone()));
                    try_poll(both, polled, hold);
                }
                try_poll(both, polled, Hold::Chosen(delivery.clone()));
            }
        }
    }
}

fn try_poll(both: &[Arc<Delivery>; 2], polled: Polled<'_>, hold: Hold) {
    let Polled { heard, carried, outward, inside } = polled;
    let [held, sent, chosen] = match &hold {
        Hold::Nothing => [None; 3],
        Hold::Held(delivery) => [Some(delivery), None, None],
        Hold::Outward(delivery, held) => [held.as_ref(), Some(delivery), None],
        Hold::Chosen(delivery) => [None, None, Some(delivery)],
    };
    // The first of the two counts.
    let the_one = |reason: &dyn Fn(&Arc<Delivery>) -> bool| both.iter().find(|d| reason(d));
    // Innermost: neither taken inside, nor to be asked again because of a newcomer.
    let untaken = |d: &Arc<Delivery>| {
        is(carried, d) && !inside.has(Roles::TOOK) && !inside.has(Roles::NEWCOMER)
    };
    let offered = |d: &Arc<Delivery>| untaken(d) && !inside.holds(d);
    let heard_elsewhere = |d: &Arc<Delivery>| {
        is(held, d) && heard == Heard::Elsewhere && carried.is_none() && !inside.holds(d)
    };
    let is_sent = |d: &Arc<Delivery>| d.is_sent() && inside.sends();
    let goes = the_one(&|d| (is(sent, d) || is(outward, d)) && is_sent(d));
    let comes = |d: &Arc<Delivery>| is(goes, d) && !inside.holds_outward(d);
    let takes = the_one(&|d| is(chosen, d) || offered(d) || heard_elsewhere(d) || comes(d));

    // Waits outward: it is not forgotten, nor is anything else beside it.
    let waits = goes.filter(|d| takes.is_none() && inside.holds_outward(d));
    let waits_on = !matches!(heard, Heard::Over | Heard::Inside);
    let stays = |d: &Arc<Delivery>| (untaken(d) || is(held, d) && waits_on) && inside.holds(d);
    let stays = the_one(&stays).filter(|_| takes.is_none());

    let hearings = hold.hearings() - u32::from(heard == Heard::Inside && held.is_some());
    let (after, taken) = hold.settle(hearings, carried.cloned(), outward.cloned(), inside);
    let same = |one: Option<&Arc<Delivery>>, other: Option<&Arc<Delivery>>| match one {
        Some(one) => is(other, one),
        None => other.is_none(),
    };
    let agrees = same(taken.as_ref(), takes)
        && match &after {
            Hold::Nothing => waits.is_none() && stays.is_none(),
            Hold::Held(delivery) => waits.is_none() && is(stays, delivery),
            Hold::Outward(delivery, held) => is(waits, delivery) && same(held.as_ref(), stays),
            Hold::Chosen(_) => false,
        };
    assert!(agrees, "{heard:?}, {inside:?}");
}

// ---- The owner ---------------------------------------------------------------

/// Every sequence of two events, against three facts: whether it was ever
/// delivered, whether the last delivery was in vain and has not been settled
/// since, and whether somebody has heard.
#[test]
fn an_owner_rests_only_while_it_is_heard_or_held_or_sent() {
    fn go(asking: &Asking, facts: (bool, bool), left: u32) {
        if left == 0 {
            return;
        }
        let copy = |asking: &Asking| Asking { delivery: asking.delivery.clone(), ..*asking };
        let (was_delivered, in_vain) = facts;
        for inside in all_roles() {
            let mut next = copy(asking);
            next.delivered(inside);
            let untaken = !inside.has(Roles::TOOK) && !inside.has(Roles::NEWCOMER);
            go(&next, (true, untaken && !inside.holds(&next.delivery)), left - 1);

            let mut next = copy(asking);
            let delivery = &next.delivery.clone();
            let sent = inside.sends() && delivery.is_sent();
            let held = was_delivered && (inside.holds(delivery) || sent);
            let expected = match (delivery.is_heard() || held, in_vain) {
                (true, _) => OwnerAnswer::Rest,
                (false, true) => OwnerAnswer::Act,
                (false, false) => OwnerAnswer::AskAgain,
            };
            assert_eq!(next.settle(inside), expected);
            assert_eq!(delivery.is_over(), delivery.is_heard() && !held);
            let moves = inside.passes() || inside.sends();
            let counts = moves || !was_delivered;
            let untaken = !(delivery.is_heard() || counts && delivery.is_taken());
            assert_eq!(next.is_untaken(), untaken);
            if delivery.is_heard() {
                delivery.unhear(); // it is not over any more
                delivery.set_heard();
            }
            go(&next, (was_delivered, false), left - 1);
        }
    }
    for bits in 0..16 {
        let has = |bit: u32| bits >> bit & 1 != 0;
        for delivery in pairs(has(0))[0].clone() {
            let _passed_on = has(1).then(|| PassedOn::new(delivery.clone()));
            let _sent = has(2).then(|| Sent::new(delivery.clone()));
            (0..u32::from(has(3))).for_each(|_| delivery.set_heard());
            go(&Asking::new(delivery.clone()), (false, false), 2);
            go(&Asking::again(delivery.clone()), (true, false), 2);
        }
    }
}

/// What those inside of a place do in a poll. Whoever hears or passes on does so
/// if something is carried, and what was passed on is given up if it is not
/// gone on with.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Inside {
    Nothing,
    Comes,
    Shields,
    /// With a shield that has been told of nothing.
    ShieldsAnew,
    Hears,
    PassesOn,
    Sends,
    SendsBesideShield,
    SendsBesideNewShield,
    /// Not inside, but beside the place somebody hears.
    HearsElsewhere,
}

/// An owner, a place in it that listens or does not, and those inside: every
/// sequence of four polls, after which nothing happens inside any more.
#[test]
fn a_request_is_never_dropped_and_the_innermost_hears_first() {
    use Inside::*;
    const ALL: [Inside; 10] = [
        Nothing,
        Comes,
        Shields,
        ShieldsAnew,
        Hears,
        PassesOn,
        Sends,
        SendsBesideShield,
        SendsBesideNewShield,
        HearsElsewhere,
    ];
    for number in 0..ALL.len().pow(4) {
        let polls = [1, 10, 100, 1000].map(|power| ALL[number / power % 10]);
        try_sequence(polls, true);
        try_sequence(polls, false);
    }
}

fn try_sequence(polls: [Inside; 4], listens: bool) {
    let delivery = delivery(Rank::TASK, 1, false);
    let mut asking = Asking::new(delivery.clone());
    let (mut hold, mut forwarding) = (Hold::default(), Forwarding::default());
    let (mut carries, mut was_heard_inside, mut has_taken) = (true, false, false);
    for inside in polls.into_iter().chain([Inside::Nothing; 3]) {
        let hearings = hold.hearings();
        let (mut roles, outward) =
            poll_inside(inside, carries.then_some(&delivery), &mut forwarding);
        was_heard_inside |= inside == Inside::Hears && carries;
        if listens {
            let carried = carries.then(|| delivery.clone());
            let (after, taken) = hold.settle(hearings, carried, outward.clone(), roles);
            hold = after;
            if taken.is_some() {
                let case = format!("{polls:?}, at {inside:?}");
                assert!(!was_heard_inside && !has_taken, "innermost, once: {case}");
                assert!(outward.is_none() || !roles.holds_outward(&delivery), "{case}");
                has_taken = true;
                delivery.set_heard();
                forwarding = Forwarding::Nothing; // it is dropped
                roles = if carries { Roles::TOOK } else { Roles::NONE };
            }
            if hold.is_outward() {
                roles |= Roles::OUTWARD;
            }
        }
        if carries {
            asking.delivered(roles);
        }
        let answer = asking.settle(roles);
        let moves =
            delivery.is_heard() || roles.holds(&delivery) || roles.sends() && delivery.is_sent();
        assert_eq!(answer == OwnerAnswer::Rest, moves, "{polls:?}, at {inside:?}");
        assert!(delivery.is_heard() || !delivery.is_over());
        if answer == OwnerAnswer::Act {
            let nobody = carries && !roles.takes() && !roles.has(Roles::NEWCOMER);
            assert!(nobody && !listens, "{polls:?}, at {inside:?}");
            return;
        }
        carries = answer == OwnerAnswer::AskAgain;
    }
    assert!(delivery.is_heard() && delivery.is_over(), "{polls:?}");
    assert!(!delivery.is_sent() && !delivery.is_passed_on(), "{polls:?}");
}

/// What is met in a poll, and what goes outward.
fn poll_inside(
    inside: Inside,
    carried: Option<&Arc<Delivery>>,
    forwarding: &mut Forwarding,
) -> (Roles, Option<Arc<Delivery>>) {
    use Inside::*;
    let mut roles = match inside {
        Comes if carried.is_some() => Roles::NEWCOMER,
        Shields | SendsBesideShield => Roles::SHIELD,
        ShieldsAnew | SendsBesideNewShield => Roles::NEW_SHIELD,
        _ => Roles::NONE,
    };
    match (inside, carried) {
        (PassesOn, Some(carried)) => {
            forwarding.pass_on(carried.clone());
            roles |= Roles::TOOK;
        }
        (Sends | SendsBesideShield | SendsBesideNewShield, Some(carried)) => {
            forwarding.go_outward(carried.clone());
            roles |= Roles::TOOK;
        }
        (PassesOn, None) => {}
        (Sends | SendsBesideShield | SendsBesideNewShield, None) => forwarding.ends(),
        (inside, carried) => {
            *forwarding = Forwarding::Nothing; // it is given up
            if let Some(carried) = carried.filter(|_| inside == Hears) {
                carried.set_heard();
                roles |= Roles::TOOK;
            }
        }
    }
    match forwarding {
        Forwarding::Nothing => (roles, None),
        Forwarding::Waiting(delivery, _) => {
            roles |= Roles::forward(delivery.rank());
            (roles, None)
        }
        Forwarding::Outward(delivery, _) => {
            roles |= Roles::OUTWARD;
            (roles, Some(Arc::clone(delivery)))
        }
    }
}

// ---- Those who pass a request on -----------------------------------------------

#[derive(Clone, Copy)]
enum Event {
    PassesOn(usize),
    CannotPassOn(usize),
    Ends,
    Refreshes,
    RefreshesElsewhere,
    IsOver(usize),
}

/// Every sequence of four events with three requests, against two facts: which
/// are waited with, and which one goes outward.
#[test]
fn those_who_pass_on_wait_with_all_and_send_the_one_that_counts() {
    use Event::*;
    let one = [0, 1, 2];
    let some = [Ends, Refreshes, RefreshesElsewhere].into_iter();
    let passes = some.chain(one.map(PassesOn));
    let all: Vec<Event> = passes.chain(one.map(CannotPassOn)).chain(one.map(IsOver)).collect();
    let count = all.len();
    for number in 0..count.pow(4) {
        try_events((0..4).map(|index| all[number / count.pow(index) % count]));
    }
}

fn try_events(events: impl Iterator<Item = Event>) {
    // In the order in which they count.
    let all = [(Rank::TASK, 2), (Rank::TASK, 1), (Rank::TASK.inside(), 3)];
    let all = all.map(|(rank, order)| delivery(rank, order, false));
    let mut forwarding = Forwarding::default();
    let (mut waits, mut sends, mut heard) = ([false; 3], None, [0; 3]);
    for event in events {
        match event {
            Event::PassesOn(index) => {
                forwarding.pass_on(all[index].clone());
                (waits[index], sends) = (true, None);
            }
            Event::Ends | Event::CannotPassOn(_) => {
                // The one that counts answers for all others that waited.
                let first = waits.iter().position(|&waits| waits);
                for index in (0..3).filter(|&index| waits[index] && Some(index) != first) {
                    heard[index] = 1;
                }
                (waits, sends) = ([false; 3], sends.or(first));
                if let Event::CannotPassOn(index) = event {
                    forwarding.go_outward(all[index].clone());
                    // And so does the one that counts of these two.
                    if let Some(before) = sends.filter(|&before| before != index) {
                        heard[before.max(index)] = 1;
                    }
                    sends = Some(sends.map_or(index, |before| before.min(index)));
                } else {
                    forwarding.ends();
                }
            }
            Event::Refreshes | Event::RefreshesElsewhere => {
                let elsewhere = matches!(event, Event::RefreshesElsewhere);
                let name = Name::from_bits(if elsewhere { ELSEWHERE } else { HERE });
                let first = sends.or(waits.iter().position(|&waits| waits));
                let other = forwarding.refresh(PolledAt {
                    task: name,
                    stop: 0,
                    seen: 0,
                    answered: Answered::default(),
                });
                let expected = first.filter(|_| elsewhere).map(|_| Name::from_bits(HERE));
                assert!(other == expected);
                if first.is_some_and(|first| elsewhere || all[first].is_over()) {
                    // Only what is stale itself is forgotten.
                    for (index, waits) in waits.iter_mut().enumerate() {
                        *waits &= !elsewhere && !all[index].is_over();
                    }
                    sends = None;
                }
            }
            Event::IsOver(index) => all[index].set_over(),
        }
        let first = sends.or(waits.iter().position(|&waits| waits));
        assert_eq!(forwarding.is_nothing(), first.is_none());
        assert!(first.is_none_or(|first| is(forwarding.request(), &all[first])));
        for (index, delivery) in all.iter().enumerate() {
            assert_eq!(delivery.is_passed_on(), waits[index]);
            assert_eq!(delivery.is_sent(), sends == Some(index));
            assert_eq!(delivery.hearings(), heard[index]);
        }
    }
    drop(forwarding);
    assert!(all.iter().all(|delivery| !delivery.is_passed_on() && !delivery.is_sent()));
}

/// Two requests to the task, and one of a deadline, delivered in this order; and somebody
/// who was told last by one of them, when the second is heard. What was heard while he was
/// not polled is nothing to him any more, nor what counts with it.
#[test]
fn what_others_have_heard_meanwhile_is_nothing_to_those_who_were_not_polled() {
    let [first, second] = [delivery(Rank::TASK, 1, false), delivery(Rank::TASK, 2, false)];
    let inner = delivery(Rank::TASK.inside(), 3, false);
    [&first, &second, &inner].into_iter().zip([2, 4, 6]).for_each(|(it, at)| it.set_number(at));
    second.set_heard();
    let answered = second.answers().expect("somebody has asked it");
    for (seen, is_forgotten) in [(2, true), (3, true), (4, false), (6, false)] {
        let here = PolledAt { task: Name::from_bits(HERE), stop: 1, seen, answered };
        for (held, forgotten) in [(&first, is_forgotten), (&second, is_forgotten), (&inner, false)]
        {
            let mut forwarding = Forwarding::default();
            forwarding.pass_on(held.clone());
            assert!(forwarding.refresh(here).is_none(), "it is of this task");
            assert_eq!(forwarding.is_nothing(), forgotten, "{} {seen}", held.order);
            let mut hold = Hold::Held(held.clone());
            hold.forget(here);
            assert_eq!(hold.is_nothing(), forgotten, "{} {seen}", held.order);
        }
    }
}
