"""What asyncio says to programs about cancellation.

There are some hundreds of them, most of them all combinations of a few parts
(see cancellation_programs.py). So that nobody writes them twice, a program is
text in a small language, and each side has an interpreter for it: asyncio's is
here, hearken's in tests/asyncio_cancellation.rs. record.py writes to
cancellation.txt the text of each program (the lines that begin with `: `) and
what was said.

The language, with what it is in Python and in hearken:

    say WORDS                      a line, with the time in milliseconds before it
    sleep MS, yield                asyncio.sleep(…) and (0)   sleep, yield_now
    return WORDS, fail WORDS       return, raise Boom         return Ok, bail!
    try { A } except { B }         except CancelledError      scope(A)
    raise                          raise, in such a B         Cancelled::rethrow, and `?`
    try { A } finally { B }        finally                    finally(A, B)
    try { A } rescue { B }         except Boom                match on the error
    timeout MS { A } late { B }    asyncio.timeout, and       timeout, and Elapsed
                                   except TimeoutError
    shield { A }                   see `shielded`             shield(A)
    group { A } broken { B }       TaskGroup, and             group, and GroupError
                                   except ExceptionGroup
    spawn NAME { A }               create_task                spawn
    child NAME { A }               TaskGroup.create_task      Group::spawn
    await NAME                     await task                 task.await?
    gather NAMES, settle NAMES     gather, and with           gather, settle
                                   return_exceptions
    cancel NAME, uncancel NAME     Task.cancel, uncancel      Task::cancel, uncancel
    count NAME                     Task.cancelling            Task::cancelling

A spawned task says how it ended, from a callback that it has from the
beginning. The program is over when all its tasks are.

What is deliberately different in hearken, and therefore in no program; the
numbers are those of docs/promises.md.

- 3.3: a task ends as cancelled here when the task that it awaits, or one of its
  gather, was cancelled by somebody else. In hearken it fails with TaskCancelled.
  So only a settle meets such a task.
- 4.6, 4.9: who requests his own end before he enters a timeout of zero is told
  that he was too late here. In hearken he is cancelled.
- 4.7: `asyncio.shield` lets its waiter go at once, and runs on alone. hearken's
  keeps him until it is through. What that is in Python stands in `shielded`.
- 4.7: a `return` in a `finally` swallows the cancellation here. In hearken a
  clean-up has no value to return.
- 4.8: a request is lost here when the awaited child swallows it, or fails in its
  clean-up: the parent has an outcome and goes on. hearken delivers it at the
  next suspension. So the parent of such a child doesn't suspend before it ends
  in an error, or meets a second request first.
- 4.8: the value is lost here when a request comes between the end of the awaited
  child and the parent's next step. hearken hands it over first.
- 4.8: `cancel` walks down the awaits here, before it returns. In hearken each
  task passes the request on when it has its turn. So tasks that are awaited at
  different depths don't speak in the pass in which they are told.
- 4.8, 5.1: a cancelled gather is over here with the first child that didn't end
  by a value. hearken's waits for all. So the children of a gather end in the
  same pass; or it is a settle, which waits here too.
- 4.8, 5.1: a cancelled settle raises here even if all its children have swallowed
  the request. hearken's hands over the values, and the request is delivered at
  the next suspension. So a suspension follows directly.
- 4.8, 5.4: a group that waits for its cancelled children is deaf to further
  requests here. hearken's passes them on.
- 4.9: a timeout here asks whether there are more requests than when it was
  entered, and a group that fails whether there are any; both then raise
  CancelledError, although everybody else's was swallowed long ago. hearken's
  know their own request. So whoever swallows one inside of a timeout that
  expires afterwards calls uncancel, as asyncio's documentation asks him to.
- 4.9: a deadline that cuts short the clean-up after somebody else's request
  raises CancelledError here. hearken's answers Elapsed, and the request, which
  was lost with the clean-up, is delivered anew at the next suspension. So such
  a `late` begins with a suspension.
- 4.10: a task that waits for a future is told by `cancel` itself here, and
  `uncancel` doesn't take it back. In hearken a request can be taken back until
  the task has its turn. So it is taken back only where nobody was told: by the
  task itself, from a task in the queue, or while a shield holds it.
- 4.10: deadlines and groups count among the requests here. hearken counts those
  of people. So nobody counts inside of one that has acted.
- 5.4: a group cancels its children in no order here, hearken's the youngest
  first. So at most one of them speaks in its clean-up.
- 5.4: the error of a child is also the child's here. In hearken it is the
  group's alone. So children don't say how they have ended.
- A deadline and a request at the same instant: who is first in the queue wins
  here, in hearken the request. Equal deadlines have no order here; so there are
  only nested ones, where the outermost answers whatever the order.
- A gather and a group cost a pass more here: see `paused`.
"""

import asyncio
import re
import textwrap

from cancellation_programs import FAMILIES


class Boom(Exception):
    pass


def parsed(text):
    """A block: a list of statements, each a list of words and blocks."""
    tokens = iter([*re.findall(r"[{};]|[^\s{};]+", text), "}"])

    def block():
        statements = [[]]
        for token in tokens:
            if token == "}":
                return [statement for statement in statements if statement]
            if token == ";":
                statements.append([])
            else:
                statements[-1].append(block() if token == "{" else token)

    return block()


class Play:
    """A program while it runs: its tasks by name, and what was said."""

    def __init__(self):
        self.lines = []
        self.tasks = {}

    def say(self, text):
        now_ms = round(asyncio.get_running_loop().time() * 1000)
        self.lines.append(f"{now_ms} {text}")

    async def run(self, text):
        await self.block(parsed(text))
        while pending := [task for task in self.tasks.values() if not task.done()]:
            await asyncio.wait(pending)
        await asyncio.sleep(0)  # the last callback

    def started(self, name, block):
        def ended(task):
            if task.cancelled():
                self.say(f"{name}: cancelled")
            elif task.exception() is not None:
                self.say(f"{name}: failed: {task.exception()}")
            else:
                self.say(f"{name}: {task.result() or 'done'}")

        task = self.tasks[name] = asyncio.create_task(self.block(block))
        task.add_done_callback(ended)

    async def block(self, block, caught=None, group=None):
        """Runs statements until one of them returns, and gives that value."""
        for statement in block:
            value = await self.statement(statement, caught, group)
            if value is not None:
                return value

    async def statement(self, statement, caught, group):
        match statement:
            case ["say", *words]:
                self.say(" ".join(words))
            case ["sleep", delay_ms]:
                await asyncio.sleep(int(delay_ms) / 1000)
            case ["yield"]:
                await asyncio.sleep(0)
            case ["return", *words]:
                return " ".join(words)
            case ["fail", *words]:
                raise Boom(" ".join(words))
            case ["raise"]:
                raise caught
            case ["try", body, "except", handler]:
                try:
                    return await self.block(body, caught, group)
                except asyncio.CancelledError as error:
                    return await self.block(handler, error, group)
            case ["try", body, "finally", cleanup]:
                try:
                    return await self.block(body, caught, group)
                finally:
                    await self.block(cleanup, caught, group)
            case ["try", body, "rescue", handler]:
                try:
                    return await self.block(body, caught, group)
                except Boom as error:
                    self.say(f"rescued from {error}")
                    return await self.block(handler, caught, group)
            case ["timeout", limit_ms, body, "late", handler]:
                try:
                    async with asyncio.timeout(int(limit_ms) / 1000):
                        return await self.block(body, caught, group)
                except TimeoutError:
                    return await self.block(handler, caught, group)
            case ["shield", body]:
                return await shielded(self.block(body, None, group))
            case ["group", body, "broken", handler]:
                try:
                    async with asyncio.TaskGroup() as group:
                        return await self.block(body, caught, group)
                except* Boom as errors:
                    said = ", ".join(map(str, errors.exceptions))
                self.say(f"group: {said}")
                return await self.block(handler, caught, group)
            case ["spawn", name, body]:
                self.started(name, body)
            case ["child", name, body]:
                self.tasks[name] = group.create_task(self.block(body))
            case ["await", name]:
                await self.tasks[name]
            case ["gather", *names]:
                await asyncio.gather(*(self.tasks[name] for name in names))
            case ["settle", *names]:
                tasks = (self.tasks[name] for name in names)
                await asyncio.gather(*tasks, return_exceptions=True)
            case ["cancel", name]:
                self.tasks[name].cancel()
            case ["uncancel", name]:
                self.tasks[name].uncancel()
            case ["count", name]:
                self.say(f"{name} counts {self.tasks[name].cancelling()}")
            case _:
                raise SyntaxError(f"no such statement: {statement}")


async def shielded(coroutine):
    """Waits for it whatever comes, and is told afterwards.

    To let the waiter wait as well is what a program that must not be left in
    the middle does with `asyncio.shield`. To request again and take that back
    leaves the count as it was, and the request for the next suspension.
    """
    inner = asyncio.create_task(coroutine)
    this = asyncio.current_task()
    held = False
    while not inner.done():
        try:
            await asyncio.shield(inner)
        except asyncio.CancelledError:
            held = True
        except Boom:
            pass
    if held:
        this.cancel()
        this.uncancel()
    return inner.result()


def blocks(transcript_of):
    """Each program and what it says, as they stand in the recording."""
    for family in FAMILIES:
        for name, text in family():
            wrapped = textwrap.wrap(
                text, 98, initial_indent=": ", subsequent_indent=": ", break_on_hyphens=False
            )
            lines = transcript_of(text)
            yield "\n".join([f"[{family.__name__}: {name}]", *wrapped, *lines]) + "\n"
