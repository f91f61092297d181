#!/usr/bin/env python3
"""Runs small asyncio programs and writes what they say to two transcripts.

    python3 tests/asyncio/record.py            # writes them
    python3 tests/asyncio/record.py --check    # compares with them instead

transcript.txt is about tasks. tests/asyncio.rs holds the same programs for
hearken, under the same names, and compares line by line. cancellation.txt is
about cancellation, and has the programs in it: see cancellation.py. The tests
read the text only, so that Python (3.13 or newer, since uncancel took nothing
back before) is needed to record and not to test.

Time is a virtual clock that jumps to the next deadline when nothing is ready,
as hearken's ManualClock does. So a transcript doesn't depend on the machine,
and takes no time.

What is deliberately different in hearken, and therefore not recorded (and in
cancellation.py what is about cancellation):

- Rust has one owner for a Task: several awaiters of one task, one callback
  registered twice, and one task twice in a gather have no counterpart.
- A sleep that comes due is polled in that very turn. asyncio needs a second
  pass, because the timer ends a future and the future wakes the task. gather
  costs a pass more here too. So no line depends on counting passes across a
  timer or a gather; where a program counts, it yields with sleep(0).
- Equal deadlines: hearken fires them in order of creation, asyncio in no
  order.
- sleep(0) always yields here. Its counterpart is yield_now; hearken's sleep
  of nothing is merely due at once.
- A timeout of zero never starts the coroutine here. In hearken a body that is
  ready at its first poll is ready.
- cancel() on a failed task silences its report here. In hearken it changes
  nothing, and the report comes.
- The second failing child of a gather vanishes here. hearken reports it.
- An awaiter that somebody else's cancellation ran into ends as cancelled
  itself here. In hearken it fails with TaskCancelled.
- A task that was cancelled before its first step keeps the last message here.
  In hearken the first reason wins, always.
- The handler is called at once here. hearken delivers reports at the end of the
  turn. So a report's line is put off by a pass, and no program does anything
  in the pass after one.
- The wording of messages, and the words of reports other than their error.

Recorded later: wait, as_completed, interrupts.
"""

import asyncio
import gc
import pathlib
import selectors
import sys

sys.dont_write_bytecode = True  # nothing is left behind in the folder

import cancellation
from cancellation import Boom

HERE = pathlib.Path(__file__).parent
MILLISECOND = 0.001

PROGRAMS = []


def program(main):
    """Adds `main(say)` to the programs, under its own name."""
    PROGRAMS.append(main)
    return main


# The loop, and what a program may lean on ------------------------------------


class JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting, moves its clock on by as long as it should wait."""

    def __init__(self):
        super().__init__()
        self.now = 0.0

    def select(self, timeout=None):
        if timeout is None:
            raise RuntimeError("nothing is ready, and no deadline is set")
        if timeout > 0:
            # Rounded, or the sum of many short waits would miss a deadline.
            self.now = round(self.now + timeout, 6)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self):
        self.clock = JumpingSelector()
        super().__init__(self.clock)

    def time(self):
        return self.clock.now


def transcript_of(main):
    lines = []
    say = lines.append

    def heard(loop, context):
        # Only the error, because the words of a report are not promised. And
        # not in the middle of the pass, because hearken's reports wait too.
        line = f"handler: {context.get('exception')}"
        say(line) if loop.is_closed() else loop.call_soon(say, line)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.get_loop().set_exception_handler(heard)
        try:
            runner.run(main(say))
        except Boom as error:
            say(f"run failed: {error}")
        # Reports wait for the collector where a frame keeps its own task.
        gc.collect()
    return lines


async def value_after(delay_ms, value):
    await asyncio.sleep(delay_ms * MILLISECOND)
    return value


async def failure_after(delay_ms, message):
    await asyncio.sleep(delay_ms * MILLISECOND)
    raise Boom(message)


async def sleep_ms(delay_ms):
    await asyncio.sleep(delay_ms * MILLISECOND)


async def yield_now():
    await asyncio.sleep(0)


def yes_no(flag):
    return "yes" if flag else "no"


async def ending_of(task):
    """Awaits a task and says how it ended, in words."""
    try:
        return f"value {await task}"
    except asyncio.CancelledError:
        return "cancelled"
    except Boom as error:
        return f"failed: {error}"


def asked(accessor):
    """Calls result() or exception() and says what came back, in words."""
    try:
        return str(accessor())
    except asyncio.InvalidStateError:
        return "pending"
    except asyncio.CancelledError:
        return "cancelled"
    except Boom as error:
        return f"raises {error}"


# Who runs when ---------------------------------------------------------------


@program
async def tasks_start_in_spawn_order_and_not_inside_spawn(say):
    async def worker(number):
        say(f"task {number} starts")

    tasks = []
    for number in 1, 2, 3:
        tasks.append(asyncio.create_task(worker(number)))
        say(f"task {number} spawned")
    await yield_now()
    say("main goes on")
    for task in tasks:
        await task


@program
async def tasks_that_yield_take_turns(say):
    async def worker(name):
        for count in 1, 2, 3:
            say(f"{name} {count}")
            await yield_now()

    tasks = [asyncio.create_task(worker(name)) for name in ("a", "b", "c")]
    for task in tasks:
        await task


@program
async def a_spawned_child_waits_behind_what_is_ready(say):
    async def child():
        say("child")

    async def parent():
        say("parent spawns")
        return asyncio.create_task(child())

    async def neighbour():
        say("neighbour")
        await yield_now()
        say("neighbour again")

    first = asyncio.create_task(parent())
    second = asyncio.create_task(neighbour())
    await (await first)
    await second


@program
async def awaiting_a_pending_task_lets_the_others_run(say):
    async def worker():
        say("worker")
        return 7

    async def bystander():
        say("bystander")

    task = asyncio.create_task(worker())
    other = asyncio.create_task(bystander())
    say(f"main got {await task}")
    await other


@program
async def awaiting_a_done_task_does_not_suspend(say):
    async def bystander():
        say("bystander")

    task = asyncio.create_task(value_after(0, "the value"))
    await sleep_ms(10)
    other = asyncio.create_task(bystander())
    say(f"main got {await task}")
    await other


@program
async def an_outcome_climbs_one_awaiter_per_pass(say):
    async def level(number):
        if number == 0:
            await yield_now()
            await yield_now()
            say("level 0 ends")
            return "the value"
        value = await asyncio.create_task(level(number - 1))
        say(f"level {number} has it")
        return value

    async def ticker():
        for tick in range(1, 11):
            say(f"tick {tick}")
            await yield_now()

    top = asyncio.create_task(level(3))
    ticks = asyncio.create_task(ticker())
    say(f"main has {await top}")
    await ticks


@program
async def sleeps_end_in_order_of_their_deadlines(say):
    async def sleeper(delay_ms):
        await sleep_ms(delay_ms)
        say(f"slept {delay_ms} ms")

    tasks = [asyncio.create_task(sleeper(ms)) for ms in (40, 10, 30, 20)]
    for task in tasks:
        await task


@program
async def a_deadline_counts_from_the_call_of_sleep(say):
    async def twice(name, first_ms, then_ms):
        await sleep_ms(first_ms)
        say(f"{name} half-way")
        await sleep_ms(then_ms)
        say(f"{name} there")

    tasks = [
        asyncio.create_task(twice("a", 10, 50)),
        asyncio.create_task(twice("b", 30, 10)),
        asyncio.create_task(twice("c", 20, 60)),
    ]
    for task in tasks:
        await task


# What became of it -----------------------------------------------------------


@program
async def accessors_answer_by_state(say):
    async def forever():
        await sleep_ms(3_600_000)

    def look(name, task):
        say(
            f"{name}: done {yes_no(task.done())},"
            f" cancelled {yes_no(task.cancelled())},"
            f" result {asked(task.result)},"
            f" exception {asked(task.exception)}"
        )

    good = asyncio.create_task(value_after(10, "fine"))
    bad = asyncio.create_task(failure_after(10, "boom"))
    gone = asyncio.create_task(forever())
    look("not started", good)
    await yield_now()
    look("sleeping", good)
    gone.cancel()
    look("cancel requested", gone)
    await sleep_ms(20)
    look("succeeded", good)
    look("failed", bad)
    look("cancelled", gone)
    look("failed, once more", bad)


@program
async def a_success_that_was_awaited_still_has_no_exception(say):
    task = asyncio.create_task(value_after(10, "the value"))
    say(await ending_of(task))
    say(f"exception: {asked(task.exception)}")


@program
async def awaiting_retrieves_a_failure(say):
    task = asyncio.create_task(failure_after(10, "boom"))
    say(await ending_of(task))
    del task
    await sleep_ms(10)


@program
async def asking_for_the_exception_retrieves_a_failure(say):
    task = asyncio.create_task(failure_after(10, "boom"))
    await sleep_ms(20)
    say(asked(task.exception))
    del task
    await sleep_ms(10)


@program
async def asking_for_the_result_retrieves_a_failure(say):
    task = asyncio.create_task(failure_after(10, "boom"))
    await sleep_ms(20)
    say(asked(task.result))
    del task
    await sleep_ms(10)


@program
async def a_failure_whose_handle_went_first_reaches_the_handler(say):
    asyncio.create_task(failure_after(10, "boom"))
    await sleep_ms(20)
    say("main goes on")


@program
async def a_failure_waits_while_a_handle_is_held(say):
    task = asyncio.create_task(failure_after(10, "boom"))
    await sleep_ms(20)
    say("nothing heard yet")
    del task
    await sleep_ms(10)
    say("main goes on")


@program
async def the_failure_of_main_comes_out_of_run_and_is_not_reported(say):
    await sleep_ms(10)
    raise Boom("boom")


@program
async def a_child_that_fails_passes_its_error_through_main(say):
    task = asyncio.create_task(failure_after(10, "boom"))
    await task
    say("not reached")


# Callbacks -------------------------------------------------------------------


@program
async def callbacks_run_in_order_and_never_inline(say):
    task = asyncio.create_task(value_after(10, "the value"))
    task.add_done_callback(lambda task: say(f"first sees {task.result()}"))
    task.add_done_callback(lambda task: say(f"second sees {task.result()}"))
    await sleep_ms(20)
    task.add_done_callback(lambda task: say(f"late one sees {task.result()}"))
    say("late one added")
    await yield_now()
    say("main goes on")


@program
async def callbacks_and_awaiters_share_one_queue(say):
    task = asyncio.create_task(value_after(10, "the value"))
    task.add_done_callback(lambda task: say("callback before the awaiter"))

    async def awaiter():
        await task
        say("awaiter")

    waiting = asyncio.create_task(awaiter())
    await yield_now()
    task.add_done_callback(lambda task: say("callback after the awaiter"))
    await waiting
    await yield_now()


@program
async def a_callback_queues_behind_what_was_ready_before(say):
    async def early():
        await yield_now()
        say("early")

    async def ends():
        say("ends")

    async def late():
        await yield_now()
        say("late")

    tasks = [asyncio.create_task(early()), asyncio.create_task(ends())]
    tasks.append(asyncio.create_task(late()))
    tasks[1].add_done_callback(lambda task: say("callback"))
    for task in tasks:
        await task


@program
async def a_removed_callback_is_not_called(say):
    def removed(task):
        say("not reached")

    task = asyncio.create_task(value_after(10, "the value"))
    task.add_done_callback(lambda task: say("first"))
    task.add_done_callback(removed)
    task.add_done_callback(lambda task: say("third"))
    say(f"removed: {yes_no(task.remove_done_callback(removed))}")
    say(f"removed again: {yes_no(task.remove_done_callback(removed))}")
    await sleep_ms(20)


@program
async def a_callback_that_raises_does_not_stop_the_others(say):
    def raises(task):
        say("first")
        raise Boom("from the callback")

    task = asyncio.create_task(value_after(10, "the value"))
    task.add_done_callback(raises)
    await yield_now()
    task.add_done_callback(lambda task: say("second"))
    await sleep_ms(20)
    say(f"still there: {task.result()}")


@program
async def a_callback_that_does_not_look_is_no_retrieval(say):
    task = asyncio.create_task(failure_after(10, "boom"))
    task.add_done_callback(lambda task: say(f"done: {yes_no(task.done())}"))
    await sleep_ms(20)
    say("main drops the task")
    del task
    await sleep_ms(10)


@program
async def a_callback_that_looks_is_a_retrieval(say):
    task = asyncio.create_task(failure_after(10, "boom"))
    task.add_done_callback(lambda task: say(f"saw {task.exception()}"))
    await sleep_ms(20)
    say("main drops the task")
    del task
    await sleep_ms(10)


@program
async def a_callback_hears_of_a_cancellation(say):
    task = asyncio.create_task(sleep_ms(1_000))
    task.add_done_callback(lambda task: say(f"saw {asked(task.result)}"))
    await sleep_ms(10)
    say(f"cancel: {yes_no(task.cancel())}")
    await sleep_ms(10)


# Cancellation ----------------------------------------------------------------


@program
async def a_task_cancelled_before_it_started_runs_nothing(say):
    async def worker():
        try:
            say("not reached")
        finally:
            say("not reached either")

    task = asyncio.create_task(worker())
    say(f"cancel: {yes_no(task.cancel())}")
    say(f"done: {yes_no(task.done())}")
    say(await ending_of(task))


@program
async def a_sleeping_task_is_cancelled_in_its_place_not_inline(say):
    async def worker():
        try:
            await sleep_ms(1_000)
            say("not reached")
        finally:
            say("worker cleans up")

    task = asyncio.create_task(worker())
    await sleep_ms(10)
    say(f"cancel: {yes_no(task.cancel())}")
    say(f"cancelled at once: {yes_no(task.cancelled())}")
    say(await ending_of(task))
    say(f"cancelled now: {yes_no(task.cancelled())}")


@program
async def cleanups_run_innermost_first(say):
    async def inner():
        try:
            await sleep_ms(1_000)
        finally:
            say("inner")

    async def outer():
        try:
            await inner()
        finally:
            say("outer")

    task = asyncio.create_task(outer())
    await sleep_ms(10)
    task.cancel()
    say(await ending_of(task))


@program
async def cancelled_tasks_clean_up_in_the_order_of_the_requests(say):
    async def worker(number):
        try:
            await sleep_ms(1_000)
        finally:
            say(f"task {number} cleans up")

    tasks = [asyncio.create_task(worker(number)) for number in range(3)]
    await sleep_ms(10)
    for number in 1, 0, 2:
        tasks[number].cancel()
    say("all requested")
    for task in tasks:
        say(await ending_of(task))


@program
async def cancelling_a_done_task_says_no_and_changes_nothing(say):
    good = asyncio.create_task(value_after(10, "the value"))
    gone = asyncio.create_task(sleep_ms(1_000))
    await sleep_ms(20)
    gone.cancel()
    await sleep_ms(20)
    say(f"cancel of the succeeded: {yes_no(good.cancel())}")
    say(f"cancel of the cancelled: {yes_no(gone.cancel())}")
    say(f"requests: {good.cancelling()} and {gone.cancelling()}")
    say(await ending_of(good))
    say(await ending_of(gone))


@program
async def two_requests_say_yes_twice_and_are_delivered_once(say):
    async def worker():
        try:
            await sleep_ms(1_000)
        finally:
            say("cleans up")

    task = asyncio.create_task(worker())
    await sleep_ms(10)
    say(f"first: {yes_no(task.cancel('the first reason'))}")
    say(f"second: {yes_no(task.cancel('the second reason'))}")
    say(f"requests: {task.cancelling()}")
    try:
        await task
    except asyncio.CancelledError as error:
        say(f"cancelled: {error}")


@program
async def a_task_that_cancels_itself_runs_on_to_its_next_suspension(say):
    async def worker():
        try:
            say(f"cancel: {yes_no(asyncio.current_task().cancel())}")
            say("still running")
            await sleep_ms(10)
            say("not reached")
        finally:
            say("cleans up")

    say(await ending_of(asyncio.create_task(worker())))


@program
async def a_task_that_cancels_itself_and_returns_ends_as_cancelled(say):
    async def worker():
        asyncio.current_task().cancel()
        return "lost"

    say(await ending_of(asyncio.create_task(worker())))


@program
async def a_task_that_cancels_itself_and_fails_ends_as_failed(say):
    async def worker():
        asyncio.current_task().cancel()
        raise Boom("boom")

    say(await ending_of(asyncio.create_task(worker())))


@program
async def a_cancellation_is_not_reported(say):
    task = asyncio.create_task(sleep_ms(1_000))
    await sleep_ms(10)
    task.cancel()
    del task
    await sleep_ms(10)
    say("nothing heard")


@program
async def what_main_leaves_behind_is_cancelled_at_the_end_of_run(say):
    async def worker():
        try:
            await sleep_ms(1_000)
            say("not reached")
        finally:
            say("worker cleans up")

    task = asyncio.create_task(worker())
    await sleep_ms(10)
    say(f"main ends, worker done: {yes_no(task.done())}")


# Many tasks, and deadlines ---------------------------------------------------


async def announced(say, name, delay_ms):
    await sleep_ms(delay_ms)
    say(f"{name} ends")
    return name


async def announced_failure(say, message, delay_ms):
    await sleep_ms(delay_ms)
    say(f"{message} raised")
    raise Boom(message)


@program
async def gather_gives_the_values_in_the_order_of_its_arguments(say):
    values = await asyncio.gather(
        announced(say, "a", 30), announced(say, "b", 10), announced(say, "c", 20)
    )
    say(" ".join(values))


@program
async def gather_of_nothing_is_ready_at_once(say):
    async def bystander():
        say("bystander")

    other = asyncio.create_task(bystander())
    say(f"{len(await asyncio.gather())} values")
    await other


@program
async def gather_hands_over_the_first_failure_and_the_siblings_run_on(say):
    try:
        await asyncio.gather(
            announced(say, "a", 30),
            announced_failure(say, "boom", 10),
            announced(say, "c", 20),
        )
    except Boom as error:
        say(f"gather failed: {error}")
    await sleep_ms(40)
    say("main goes on")


@program
async def settle_waits_for_all_and_keeps_every_ending(say):
    async def gone():
        asyncio.current_task().cancel()
        await yield_now()

    endings = await asyncio.gather(
        announced(say, "a", 30),
        announced_failure(say, "boom", 10),
        gone(),
        announced(say, "d", 20),
        return_exceptions=True,
    )
    for ending in endings:
        if isinstance(ending, asyncio.CancelledError):
            say("cancelled")
        elif isinstance(ending, Boom):
            say(f"failed: {ending}")
        else:
            say(f"value {ending}")


@program
async def a_body_quicker_than_its_timeout_gives_its_value(say):
    value = await asyncio.wait_for(value_after(10, "the value"), 50 * MILLISECOND)
    say(f"got {value}")
    await sleep_ms(100)
    say("the deadline passed unnoticed")


@program
async def a_body_slower_than_its_timeout_is_gone_when_the_timeout_returns(say):
    async def slow():
        try:
            await sleep_ms(1_000)
            say("not reached")
        finally:
            say("body cleans up")

    try:
        await asyncio.wait_for(slow(), 50 * MILLISECOND)
    except TimeoutError:
        say("too late")
    await sleep_ms(2_000)
    say("main goes on")


@program
async def a_body_that_fails_under_a_timeout_gives_its_own_error(say):
    try:
        await asyncio.wait_for(failure_after(10, "boom"), 50 * MILLISECOND)
    except Boom as error:
        say(f"failed: {error}")


# Writing it down -------------------------------------------------------------


def blocks():
    for main in PROGRAMS:
        lines = transcript_of(main)
        yield "\n".join([f"[{main.__name__}]", *lines]) + "\n"


def cancellation_of(text):
    play = cancellation.Play()
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(play.run(text))
    return play.lines


RECORDINGS = {
    "transcript.txt": blocks,
    "cancellation.txt": lambda: cancellation.blocks(cancellation_of),
}


def recorded(name):
    text = "\n".join(RECORDINGS[name]())
    if "\n".join(RECORDINGS[name]()) != text:
        sys.exit(f"{name} is different every time")
    return text


def without_comments(text):
    return "".join(
        line for line in text.splitlines(True) if not line.startswith("#")
    ).strip()


def main():
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < (3, 13):
        sys.exit(f"CPython {version} is too old: in 3.13 uncancel learnt to take back")
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit("usage: record.py [--check]")
    for name in RECORDINGS:
        text = f"# What asyncio of CPython {version} says; written by record.py.\n\n"
        text += recorded(name)
        path = HERE / name
        if not sys.argv[1:]:
            path.write_text(text)
        elif without_comments(path.read_text()) != without_comments(text):
            sys.exit(f"CPython {version} says something else than {name}")


if __name__ == "__main__":
    main()
