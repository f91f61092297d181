"""The programs of cancellation.py: families of small variations.

A *layer* is a piece of code that cleans up, around another piece. Most programs
are layers in layers, named from the outside in, with a request or a deadline
while the innermost sleeps. Each clean-up takes 20 ms if not said otherwise, so
a request every 10 ms meets the middle of one.
"""

import itertools

FAMILIES = []


def family(programs):
    """Adds a family, which yields the name and the text of each program."""
    FAMILIES.append(programs)
    return programs


CLEANUP_MS = 20


def finally_(inner, level, delay_ms=CLEANUP_MS):
    return (
        f"try {{ {inner} }} finally {{"
        f" say tidying {level}; sleep {delay_ms}; say tidied {level} }}"
    )


def reraises(inner, level, delay_ms=CLEANUP_MS):
    return (
        f"try {{ {inner} }} except {{"
        f" say caught {level}; sleep {delay_ms}; say lets go {level}; raise }}"
    )


def swallows(inner, level, delay_ms=CLEANUP_MS):
    return (
        f"try {{ {inner} }} except {{"
        f" say caught {level}; sleep {delay_ms}; say keeps {level} }};"
        f" sleep 5; say went on {level}"
    )


def fails(inner, level, delay_ms=CLEANUP_MS):
    return (
        f"try {{ {inner} }} except {{"
        f" say caught {level}; sleep {delay_ms}; fail spilled {level} }}"
    )


def finally_fails(inner, level, delay_ms=CLEANUP_MS):
    return (
        f"try {{ {inner} }} finally {{"
        f" say tidying {level}; sleep {delay_ms}; fail spilled {level} }}"
    )


def plain(inner, level, delay_ms=CLEANUP_MS):
    return inner


NAMES = {
    finally_: "finally",
    reraises: "reraises",
    swallows: "swallows",
    fails: "fails",
    finally_fails: "finally fails",
    plain: "plain",
}
LAYERS = [finally_, reraises, swallows, fails, finally_fails]
LONG = "sleep 1000; say slept through"


def paused(layer):
    """The same, but its clean-up says nothing in the pass in which it begins.

    A gather and a group cost a pass more here. So what is around one waits for
    the callbacks of those inside, which may come before it or after it.
    """

    def paused_layer(inner, level):
        text = layer("INNER", level).replace("{ say", "{ sleep 1; say")
        return text.replace("INNER", inner)

    return paused_layer


def nested(layers, inner=LONG):
    """The layers from the outside in, around `inner`."""
    for level, layer in reversed(list(enumerate(layers, 1))):
        inner = layer(inner, level)
    return inner


def named(layers):
    return ", ".join(NAMES[layer] for layer in layers)


def requests(worker, *times_ms):
    """A task that is cancelled at these times."""
    text, now_ms = f"spawn worker {{ {worker} }}", 0
    for time_ms in times_ms:
        text += f"; sleep {time_ms - now_ms}; cancel worker"
        now_ms = time_ms
    return text


@family
def one_request():
    depths = [(1, LAYERS), (2, LAYERS), (3, LAYERS[:3]), (4, LAYERS[:2])]
    for depth, choice in depths:
        for layers in itertools.product(choice, repeat=depth):
            yield (named(layers), requests(nested(layers), 10))


@family
def two_requests():
    """The second one comes in the middle of the innermost clean-up."""
    for depth, choice in [(1, LAYERS), (2, LAYERS[:4]), (3, LAYERS[:2])]:
        for layers in itertools.product(choice, repeat=depth):
            yield (named(layers), requests(nested(layers), 10, 20))


@family
def further_requests():
    for layer in LAYERS:
        # The inner one is through at 30 and goes on until 35.
        yield (
            f"after a swallowed one, in {NAMES[layer]}",
            requests(nested([layer, swallows]), 10, 32),
        )
        yield (f"two at once, in {NAMES[layer]}", requests(nested([layer]), 10) + "; cancel worker")
    for layers in itertools.product(LAYERS[:2], repeat=3):
        yield (f"one for each of {named(layers)}", requests(nested(layers), 10, 20, 30))
    # A clean-up with a clean-up of its own.
    for inner in LAYERS:
        cleanup = inner("sleep 20; say cleaned up", "inside")
        around = f"try {{ {LONG} }} finally {{ {cleanup}; say after it }}"
        yield (f"in a finally whose clean-up {NAMES[inner]}", requests(around, 10, 20))
        around = f"try {{ {LONG} }} except {{ {cleanup}; say after it; raise }}"
        yield (f"in an except whose clean-up {NAMES[inner]}", requests(around, 10, 20))
        yield (f"three in an except whose clean-up {NAMES[inner]}", requests(around, 10, 20, 30))


@family
def before_the_first_step():
    for layer in LAYERS[:3]:
        yield (NAMES[layer], f"spawn worker {{ {nested([layer])} }}; cancel worker")
    yield (
        "of a parent and its child",
        f"spawn child {{ {nested([finally_])} }};"
        f" spawn worker {{ {finally_('await child', 'parent')} }};"
        " cancel worker; sleep 10; cancel child",
    )
    yield (
        "of a child, and its parent too",
        f"spawn worker {{ spawn child {{ say not reached }};"
        f" {finally_('cancel worker; await child', 'parent')} }}",
    )


@family
def to_itself():
    waits = {
        "sleep": "sleep 10",
        "yield": "yield",
        "a new child": "spawn child { say child; sleep 10; say not reached }; await child",
        "a gather": "spawn a { say a }; spawn b { say b }; gather a b",
        "a timeout": "timeout 50 { sleep 10 } late { say not late }",
        "a try": "try { sleep 10 } except { say caught within; raise }",
    }
    for name, wait in waits.items():
        for layer in LAYERS[:3]:
            body = f"cancel worker; say asked; {wait}; say not reached"
            around = paused(layer) if "gather" in wait else layer
            yield (f"before {name}, in {NAMES[layer]}", requests(around(body, 1)))
    yield (
        "before a child that waits",
        f"spawn child {{ {finally_('sleep 1000', 'child')} }};"
        f" spawn worker {{ sleep 10; {reraises('cancel worker; await child', 'parent')} }}",
    )
    yield (
        "before a child that is done",
        "spawn child { return early };"
        " spawn worker { sleep 10; cancel worker; await child; say has it;"
        f" {finally_('sleep 10; say not reached', 'parent')} }}",
    )
    yield ("and returns", requests("cancel worker; return lost"))
    yield ("and fails", requests("cancel worker; fail boom"))
    yield (
        "and leaves the try before it suspends",
        requests(reraises("try { cancel worker } except { say not here }; sleep 10", "outside")),
    )
    yield (
        "and cleans up before it suspends",
        requests(reraises(finally_("cancel worker", "inside") + "; say not reached", "outside")),
    )
    yield (
        "twice",
        requests(reraises("cancel worker; cancel worker; count worker; sleep 10", "once")),
    )
    for how in "raise", "say keeps it":
        body = f"try {{ {LONG} }} except {{ say caught; cancel worker; sleep 10; {how} }}"
        yield (
            f"in its clean-up, which would {how.split()[0]}",
            requests(finally_(body, "around"), 10),
        )
    yield (
        "in its finally",
        requests(
            reraises(f"try {{ {LONG} }} finally {{ say tidying; cancel worker; sleep 10 }}", 1), 10
        ),
    )
    yield (
        "again after it has swallowed the first",
        requests(
            "try { cancel worker; sleep 10 } except { say keeps it }; cancel worker; sleep 10"
        ),
    )


@family
def awaits():
    def parent_and_child(parent, child, *times_ms):
        return f"spawn child {{ {nested([child])} }}; " + requests(
            parent("await child; say not reached", "parent"), *times_ms
        )

    # A failure of the child that meets a clean-up which suspends is 4.8.
    for parent in [plain, *LAYERS]:
        for child in [plain, finally_, reraises]:
            yield (
                f"{NAMES[parent]}, of a child that is {NAMES[child]}",
                parent_and_child(parent, child, 10),
            )
    for parent in plain, reraises, fails:
        for child in fails, finally_fails:
            yield (
                f"{NAMES[parent]}, of a child that {NAMES[child]}",
                parent_and_child(parent, child, 10),
            )
    for parent in [plain, *LAYERS[:3]]:
        for child in finally_, swallows:  # which is cut short before it can
            yield (
                f"two requests, {NAMES[parent]}, of a child that is {NAMES[child]}",
                parent_and_child(parent, child, 10, 20),
            )
    for parent in LAYERS:
        yield (
            f"two requests, the second to the parent's clean-up, {NAMES[parent]}",
            parent_and_child(parent, finally_, 10, 40),
        )
    yield (
        "two requests, the first of them swallowed by the child",
        parent_and_child(finally_, swallows, 10, 32),
    )
    yield (
        "a child that swallows it, of a parent that fails then",
        f"spawn child {{ {swallows('sleep 1000', 'child')} }};"
        + requests("await child; say has it; fail boom", 10),
    )


@family
def awaits_in_clean_ups():
    for outer in plain, finally_, reraises, swallows:
        for name, around in {
            "a finally": "try { sleep 1000 } finally { await child; say has it }",
            "an except": "try { sleep 1000 } except { await child; say has it; raise }",
        }.items():
            for child in finally_, reraises:
                yield (
                    f"in {name} in {NAMES[outer]}, two requests, a child that is {NAMES[child]}",
                    f"spawn child {{ {child(LONG, 'child', 5)} }}; "
                    + requests(outer(around, "outside"), 10, 20),
                )
            yield (
                f"in {name} in {NAMES[outer]}, of a child that is not asked",
                "spawn child { sleep 25; say child is through }; "
                + requests(outer(around, "outside"), 10),
            )
    yield (
        "after it has failed and was rescued in the clean-up",
        requests(
            f"try {{ {LONG} }} except {{" " try { sleep 5; fail boom } rescue { sleep 5 }; raise }",
            10,
        ),
    )


@family
def awaits_of_awaits():
    def three(layers, *times_ms):
        worker, child, grandchild = layers
        return (
            f"spawn grandchild {{ {grandchild(LONG, 'grandchild')} }};"
            f" spawn child {{ {child('await grandchild; say not reached', 'child')} }}; "
            + requests(worker("await child; say not reached", "worker"), *times_ms)
        )

    yield ("no clean-up anywhere", three([plain] * 3, 10))
    for layers in itertools.product([finally_, reraises], repeat=3):
        yield (named(layers), three(layers, 10))
        yield (f"two requests, {named(layers)}", three(layers, 10, 20))
        yield (f"the second to the child, {named(layers)}", three(layers, 10, 40))


@family
def gathers():
    def two(a, b, parent, how, *times_ms, after="say not reached"):
        return f"spawn a {{ {a} }}; spawn b {{ {b} }}; " + requests(
            paused(parent)(f"{how} a b; {after}", "parent"), *times_ms
        )

    children = {
        "plain ones": (LONG, LONG),
        "finally, slow and fast": (finally_(LONG, "a", 20), finally_(LONG, "b", 10)),
        "reraises, fast and slow": (reraises(LONG, "a", 10), reraises(LONG, "b", 20)),
        "one that swallows": (swallows(LONG, "a"), finally_(LONG, "b", 10)),
        "one that fails": (fails(LONG, "a"), finally_(LONG, "b", 10)),
        "one that is through": ("return early", finally_(LONG, "b", 10)),
    }
    for name, (a, b) in children.items():
        for parent in plain, finally_, swallows:
            yield (f"settle, {name}, {NAMES[parent]}", two(a, b, parent, "settle", 10))
    # Not by a timer, because equal deadlines have no order here.
    together = [
        "try { sleep 1000 } finally { say tidying a; yield; say tidied a }",
        "try { sleep 1000 } finally { say tidying b; yield; say tidied b }",
    ]
    for parent in [plain, *LAYERS[:3]]:
        yield (
            f"gather, two that end together, {NAMES[parent]}",
            two(*together, parent, "gather", 10),
        )
        slow_and_fast = children["finally, slow and fast"]
        yield (f"two requests, {NAMES[parent]}", two(*slow_and_fast, parent, "settle", 10, 15))
        yield (
            f"two requests, the second to the slower one only, {NAMES[parent]}",
            two(*slow_and_fast, parent, "settle", 10, 25),
        )
    yield (
        "all of a settle swallow it, and then there is a suspension",
        two(
            "try { sleep 1000 } except { say a keeps it; sleep 10 }",
            "try { sleep 1000 } except { say b keeps it; sleep 20 }",
            reraises,
            "settle",
            10,
            after="sleep 10; say not reached",
        ),
    )
    yield (
        "a gather that has failed lets its children go on",
        "spawn a { sleep 20; fail boom };"
        f" spawn b {{ sleep 70; say b runs on }};"
        + requests(f"try {{ gather a b }} rescue {{ {finally_(LONG, 'parent')} }}", 40),
    )
    yield (
        "a settle, of whose children somebody cancels one",
        f"spawn a {{ {LONG} }}; spawn b {{ sleep 20; return fine }};"
        " spawn worker { settle a b; say has them }; sleep 10; cancel a",
    )
    yield (
        "a gather in a gather",
        f"spawn a {{ {finally_(LONG, 'a', 10)} }}; spawn b {{ {finally_(LONG, 'b', 20)} }};"
        f" spawn c {{ {paused(finally_)('settle a b', 'c')} }};"
        f" spawn d {{ {paused(reraises)(LONG, 'd')} }};"
        + requests(paused(reraises)("settle c d", "parent"), 10),
    )


@family
def shields():
    held = "shield { sleep 20; say through }"
    for layer in [plain, *LAYERS]:
        body = f"{held}; sleep 10; say not reached"
        yield (f"in {NAMES[layer]}", requests(layer(body, 1), 10))
        yield (f"two requests, in {NAMES[layer]}", requests(layer(body, 1), 10, 15))
        yield (
            f"in {NAMES[layer]}, which is left before the next suspension",
            (
                requests(reraises(f"{layer(held, 1)}; sleep 10; say not reached", "outside"), 10)
                if layer in (plain, reraises, fails)
                else requests(layer(f"{held}; say and on; sleep 10", 1), 10)
            ),
        )
        inside = layer("sleep 20; say through", "inside", 5)
        yield (
            f"around {NAMES[layer]}",
            requests(f"try {{ shield {{ {inside} }}; sleep 10 }} rescue {{ sleep 10 }}", 10),
        )
    for layer in LAYERS:
        tidies = "say tidying; shield { sleep 20; say tidied }"
        yield (
            f"in a finally, in {NAMES[layer]}, two requests",
            requests(layer(f"try {{ {LONG} }} finally {{ {tidies} }}", "outside"), 10, 20),
        )
        yield (
            f"in an except, in {NAMES[layer]}, two requests",
            requests(layer(f"try {{ {LONG} }} except {{ {tidies}; raise }}", "outside"), 10, 20),
        )
    then = {
        "returns": "return kept",
        "fails": "fail boom",
        "another": "shield { sleep 20; say through too }; sleep 10; say not reached",
        "itself again": "cancel worker; sleep 10; say not reached",
    }
    for name, text in then.items():
        yield (f"and then {name}", requests(finally_(f"{held}; {text}", 1, 5), 10))
    yield (
        "in a shield",
        requests(
            f"shield {{ say in; {held}; sleep 10; say still in }}; {reraises('sleep 5', 1)}", 10
        ),
    )
    yield (
        "that fails",
        requests("try { shield { sleep 20; fail boom } } rescue { say so; sleep 10; say no }", 10),
    )
    yield (
        "asked by itself before",
        requests(reraises(f"cancel worker; {held}; say here; sleep 10; say not reached", 1)),
    )
    yield (
        "asked by itself within",
        requests(reraises("shield { cancel worker; sleep 20; say through }; sleep 10", 1)),
    )
    yield (
        "around an await",
        f"spawn child {{ try {{ sleep 50; say child is through }} except {{ say not told }} }};"
        + requests(reraises("shield { await child }; sleep 10; say not reached", 1), 10),
    )
    yield (
        "in a child that is awaited",
        f"spawn child {{ {finally_(held + '; sleep 10', 'child')} }};"
        + requests(reraises("await child", "parent"), 10),
    )
    yield (
        "in the clean-up of a child that is awaited",
        f"spawn child {{ try {{ sleep 1000 }} finally {{ {held} }} }};"
        + requests(reraises("await child", "parent"), 10, 20),
    )


def late(name="late"):
    return f"late {{ sleep 5; say {name} }}"


@family
def deadlines():
    """Nobody but the deadline asks."""
    for depth, choice in [(0, LAYERS), (1, LAYERS), (2, LAYERS[:3])]:
        for layers in itertools.product(choice, repeat=depth):
            body = nested(layers)
            yield (
                f"around {named(layers) or 'nothing'}",
                requests(f"timeout 10 {{ {body} }} {late()}; say goes on"),
            )
    yield ("of nothing, a body that is ready", requests(f"timeout 0 {{ return ready }} {late()}"))
    yield ("of nothing, a body that waits", requests(f"timeout 0 {{ {LONG} }} {late()}"))
    for layer in LAYERS[:3]:
        for name, body in {
            "that is quick": "sleep 5; say quick; return quick",
            "that fails": "sleep 5; fail boom",
            "under a shield": "shield { sleep 20; say through }; sleep 10; say not reached",
            "under a shield, and no more": "shield { sleep 20; say through }",
        }.items():
            yield (
                f"around {NAMES[layer]} {name}",
                (
                    requests(f"timeout 10 {{ {layer(body, 1)} }} {late()}; say goes on")
                    if "no more" not in name or layer is reraises
                    else requests(f"timeout 10 {{ {body} }} {late()}; {layer('sleep 5', 1)}")
                ),
            )
        yield (
            f"in {NAMES[layer]}",
            requests(layer(f"timeout 10 {{ {LONG} }} {late()}; say goes on", "outside")),
        )


@family
def deadlines_and_requests():
    # The request first, and the deadline in the middle of the clean-up.
    for outer in [plain, *LAYERS[:3]]:
        for inner in LAYERS[:4]:
            body = f"timeout 20 {{ {inner(LONG, 'inside')} }} {late('not late')}"
            yield (
                f"request, then deadline: {NAMES[outer]} around it, {NAMES[inner]} within",
                requests(outer(body, "outside"), 10),
            )
            body = f"timeout 10 {{ {inner(LONG, 'inside')} }} {late('not late')}"
            yield (
                f"deadline, then request: {NAMES[outer]} around it, {NAMES[inner]} within",
                requests(outer(body, "outside"), 20),
            )
    for layer in [plain, finally_, reraises, fails, finally_fails]:
        body = f"timeout 100 {{ {layer(LONG, 'inside')} }} {late('not late')}"
        yield (
            f"a request long before the deadline, {NAMES[layer]} within",
            requests(reraises(body, "outside"), 10),
        )
        yield (
            f"a request after the deadline, {NAMES[layer]} around",
            requests(layer(f"timeout 5 {{ sleep 50 }} {late()}; {LONG}", "outside"), 20),
        )
    # Swallowed, and taken back as asyncio's documentation asks.
    keeps = f"try {{ {LONG} }} except {{ say caught; uncancel worker; sleep 10; say keeps it }}"
    yield (
        "a request swallowed in the body, then the deadline",
        requests(f"timeout 50 {{ {keeps}; {finally_(LONG, 'inside')} }} {late()}; say goes on", 10),
    )
    yield (
        "a request swallowed in the clean-up of a deadline",
        requests(
            f"timeout 5 {{ try {{ {LONG} }} except {{ say too long; {keeps}; raise }} }} {late()};"
            " say goes on",
            10,
        ),
    )
    yield (
        "a request passed on in the clean-up of a deadline",
        requests(
            f"timeout 5 {{ try {{ {LONG} }} except {{ {reraises('sleep 20', 'inside')}; raise }} }}"
            f" {late('not late')}",
            10,
        ),
    )
    yield (
        "a request that the clean-up of a deadline holds back",
        requests(
            reraises(
                f"timeout 5 {{ try {{ {LONG} }} finally {{ shield {{ sleep 20; say through }};"
                f" sleep 10; say not reached }} }} {late('not late')}",
                "outside",
            ),
            10,
        ),
    )
    yield (
        "both while a shield holds, then a suspension",
        requests(
            reraises(
                "timeout 10 { shield { sleep 40; say through }; sleep 10; say not reached }"
                f" {late('not late')}",
                "outside",
            ),
            20,
        ),
    )
    yield (
        "both while a shield holds, the request first",
        requests(
            reraises(
                "timeout 20 { shield { sleep 40; say through }; sleep 10; say not reached }"
                f" {late('not late')}",
                "outside",
            ),
            10,
        ),
    )
    yield (
        "a deadline within the shield, a request from without",
        requests(
            reraises(
                f"shield {{ timeout 20 {{ {finally_(LONG, 'inside')} }} {late('in time')} }};"
                " sleep 10; say not reached",
                "outside",
            ),
            10,
        ),
    )


@family
def nested_deadlines():
    def two(outer_ms, inner_ms, between, inside, around=plain, *times_ms):
        inner = f"timeout {inner_ms} {{ {inside(LONG, 'inside')} }} {late('inner late')}"
        body = f"timeout {outer_ms} {{ {between(inner, 'between')} }} {late('outer late')}"
        return requests(around(f"{body}; say goes on", "around"), *times_ms)

    for between in plain, finally_, reraises, swallows:
        for inside in plain, finally_, fails:
            where = f"{NAMES[between]} between, {NAMES[inside]} inside"
            yield (f"equal: {where}", two(10, 10, between, inside))
            if inside is not plain:
                yield (f"the inner one first: {where}", two(20, 10, between, inside))
                yield (f"the outer one first: {where}", two(10, 20, between, inside))
    for between in plain, reraises:
        where = f"{NAMES[between]} between"
        yield (
            f"equal, and a request to the clean-up: {where}",
            two(10, 10, between, finally_, reraises, 20),
        )
        yield (
            f"a request, then the inner one, then the outer one: {where}",
            two(30, 20, between, finally_, reraises, 10),
        )
        yield (
            f"the inner one, then a request, then the outer one: {where}",
            two(25, 10, between, finally_, reraises, 20),
        )
    yield (
        "three equal ones",
        requests(
            f"timeout 10 {{ timeout 10 {{ timeout 10 {{ {finally_(LONG, 'inside')} }} {late('3')}"
            f" }} {late('2')} }} {late('1')}; say goes on"
        ),
    )
    yield ("far apart", two(90, 10, plain, finally_))
    yield (
        "a quick body",
        requests(
            f"timeout 90 {{ timeout 10 {{ sleep 5; say quick }} {late('inner late')}; {LONG} }}"
            f" {late('outer late')}"
        ),
    )
    yield (
        "attempts with a limit each, and one for all",
        requests(
            "timeout 45 {"
            + "; ".join(
                f"timeout 10 {{ {finally_('sleep 1000', name, 7)} }} late {{ sleep 1; say next }}"
                for name in ("first", "second", "third", "fourth")
            )
            + f" }} {late('all late')}"
        ),
    )


@family
def limited_clean_ups():
    cleanup = "timeout 5 { say tidying; sleep 20; say not reached } late { say gives up }"
    for outer in plain, reraises, swallows:
        for name, around in {
            "finally": f"try {{ {LONG} }} finally {{ {cleanup} }}",
            "except": f"try {{ {LONG} }} except {{ {cleanup}; raise }}",
        }.items():
            yield (f"{name}, in {NAMES[outer]}", requests(outer(around, "outside"), 10))
            yield (
                f"{name}, in {NAMES[outer]}, two requests",
                requests(outer(around, "outside"), 10, 13),
            )
    for inner in LAYERS[:4]:
        tidies = inner("sleep 20", "within", 10)
        yield (
            f"with {NAMES[inner]} within",
            requests(
                f"try {{ {LONG} }} finally {{ timeout 5 {{ {tidies} }} late {{ say gives up }} }}",
                10,
            ),
        )


@family
def deadlines_of_awaits():
    children = [plain, finally_, reraises, fails, finally_fails]
    for child in children:
        spawn = f"spawn child {{ {child(LONG, 'child')} }}; "
        await_ = f"timeout 10 {{ await child }} {late()}; say goes on"
        yield (f"a child that is {NAMES[child]}", spawn + requests(await_))
        if child in (fails, finally_fails):
            continue
        for parent in finally_, swallows:
            within = f"timeout 10 {{ {parent('await child', 'parent')} }} {late()}; say goes on"
            yield (
                f"{NAMES[parent]} within, of a child that is {NAMES[child]}",
                spawn + requests(within),
            )
        if child is plain:
            continue
        for name, times_ms, limit_ms in ("before", (10,), 20), ("after", (20,), 10):
            within = f"timeout {limit_ms} {{ await child }} {late('not late')}"
            for parent in finally_, swallows:
                yield (
                    f"a request {name} it, {NAMES[parent]} around, a child that is {NAMES[child]}",
                    spawn + requests(parent(within, "parent"), *times_ms),
                )
    yield (
        "a child that swallows it",
        f"spawn child {{ {swallows(LONG, 'child')} }};"
        + requests(f"timeout 10 {{ await child; say has it }} {late('not late')}; say goes on"),
    )
    # The child has a limit too.
    for own_ms, limit_ms in (10, 20), (20, 10):
        for layer in finally_, reraises:
            yield (
                f"{limit_ms} ms, of a child with {own_ms} ms of its own, {NAMES[layer]}",
                f"spawn child {{ timeout {own_ms} {{ {layer(LONG, 'child')} }}"
                f" {late('child late')} }};"
                + requests(f"timeout {limit_ms} {{ await child }} {late()}; say goes on"),
            )
    for layers in itertools.product([finally_, reraises], repeat=2):
        child, grandchild = layers
        yield (
            f"a child that is {NAMES[child]} of one that is {NAMES[grandchild]}",
            f"spawn grandchild {{ {grandchild(LONG, 'grandchild')} }};"
            f" spawn child {{ {child('await grandchild', 'child')} }};"
            + requests(f"timeout 10 {{ await child }} {late()}; say goes on"),
        )
        yield (
            f"at each level, {named(layers)}",
            f"spawn grandchild {{ {grandchild(LONG, 'grandchild', 50)} }};"
            f" spawn child {{ timeout 10 {{ {child('await grandchild', 'child')} }}"
            f" {late('child late')} }};"
            + requests(f"timeout 30 {{ await child }} {late()}; say goes on"),
        )
    for parent in plain, finally_, reraises:
        yield (
            f"two children of a settle, {NAMES[parent]} within",
            f"spawn a {{ {finally_(LONG, 'a', 20)} }}; spawn b {{ {reraises(LONG, 'b', 10)} }};"
            + requests(
                f"timeout 10 {{ {paused(parent)('settle a b', 'parent')} }} {late()}; say goes on"
            ),
        )
        yield (
            f"two children of a settle, {NAMES[parent]} around, and a request",
            f"spawn a {{ {finally_(LONG, 'a', 20)} }}; spawn b {{ {reraises(LONG, 'b', 10)} }};"
            + requests(
                paused(parent)(f"timeout 10 {{ settle a b }} {late('not late')}", "parent"), 25
            ),
        )


@family
def taken_back():
    yield (
        "one's own, before the suspension",
        requests("cancel worker; uncancel worker; count worker; sleep 10; say goes on"),
    )
    yield (
        "one of one's own two",
        requests(
            finally_("cancel worker; cancel worker; uncancel worker; count worker; sleep 10", 1)
        ),
    )
    yield (
        "before the first step",
        "spawn worker { say runs; sleep 10; say goes on }; cancel worker; uncancel worker",
    )
    yield (
        "from one that stands in the queue",
        "spawn worker { yield; say runs on; sleep 10; say goes on };"
        " spawn other { cancel worker; uncancel worker; count worker }",
    )
    yield (
        "one of two, from one that stands in the queue",
        f"spawn worker {{ {reraises('yield; say not reached', 1)} }};"
        " spawn other { cancel worker; cancel worker; uncancel worker; count worker }",
    )
    yield (
        "more than there are",
        requests("uncancel worker; count worker; cancel worker; count worker; sleep 10"),
    )
    for layer in LAYERS[:3]:
        held = "shield { sleep 20; say through }; sleep 10; say goes on"
        yield (
            f"while a shield holds it, in {NAMES[layer]}",
            requests(layer(held, 1), 10) + "; sleep 5; uncancel worker",
        )
    for how in "raise", "say keeps it":
        body = f"try {{ {LONG} }} except {{ uncancel worker; count worker; sleep 10; {how} }}"
        yield (
            f"after it was told, and then {how.split()[0]}",
            requests(f"{body}; {finally_('sleep 50', 'after')}; count worker", 10),
        )
        yield (
            f"after it was told, and then {how.split()[0]}, and another one",
            requests(f"{body}; {finally_('sleep 50', 'after')}; count worker", 10, 30),
        )


@family
def groups():
    def quietly(inner, name, delay_ms):
        return f"try {{ {inner} }} finally {{ sleep {delay_ms}; say tidied {name} }}"

    broken = "broken { sleep 5; say group was broken }"
    boom = "child bad { sleep 10; fail boom }"
    yield (
        "a child fails, its siblings and the body clean up",
        requests(
            f"group {{ child good {{ {quietly(LONG, 'sibling', 20)} }}; {boom};"
            f" {quietly(LONG, 'body', 30)} }} {broken}; say goes on"
        ),
    )
    yield (
        "a child fails while the body is over",
        requests(
            f"group {{ child good {{ {quietly(LONG, 'sibling', 20)} }}; {boom} }} {broken};"
            " say goes on"
        ),
    )
    yield (
        "a child fails, and another one in its clean-up",
        requests(f"group {{ child good {{ {finally_fails(LONG, 'sibling')} }}; {boom} }} {broken}"),
    )
    yield (
        "a child fails, and the body in its clean-up",
        requests(f"group {{ {boom}; {fails(LONG, 'body')} }} {broken}"),
    )
    yield (
        "the body fails",
        requests(
            f"group {{ child good {{ {finally_(LONG, 'child')} }}; sleep 10; fail boom }} {broken}"
        ),
    )
    for parent in plain, finally_, swallows:
        for name, body in {"waits": LONG, "is over": "say body is over"}.items():
            yield (
                f"the parent is cancelled while the body {name}, {NAMES[parent]}",
                requests(
                    parent(
                        f"group {{ child good {{ {finally_(LONG, 'child')} }}; {body} }} {broken};"
                        " say not reached",
                        "parent",
                    ),
                    10,
                ),
            )
    yield (
        "the parent is cancelled, and a child fails in its clean-up",
        requests(
            f"group {{ child bad {{ {fails(LONG, 'child')} }}; {LONG} }}"
            " broken { sleep 5; say not reached }",
            10,
        ),
    )
    yield (
        "the parent is cancelled, and the body swallows it",
        requests(
            f"group {{ child good {{ sleep 50; say child is through }}; {swallows(LONG, 'body')} }}"
            f" {broken}; say goes on",
            10,
        ),
    )
    yield (
        "the parent is cancelled, and the body cleans up and raises",
        requests(
            f"group {{ child good {{ {finally_(LONG, 'child')} }}; {reraises(LONG, 'body')} }}"
            f" {broken}; say not reached",
            10,
        ),
    )
    for layer in plain, finally_, reraises:
        yield (
            f"under a deadline, with a child, {NAMES[layer]}",
            requests(
                f"timeout 10 {{ group {{ child good {{ {layer(LONG, 'child')} }} }} {broken} }}"
                f" {late()}; say goes on"
            ),
        )
    yield (
        "a child fails, and the body is cancelled in its clean-up",
        requests(
            f"group {{ {boom}; {quietly(LONG, 'body', 40)} }}"
            " broken { sleep 5; say not reached }",
            20,
        ),
    )
    yield (
        "a child fails, and the body awaits it",
        requests(f"group {{ {boom}; await bad; say not reached }} {broken}; say goes on"),
    )
    yield (
        "a child that somebody cancels alone",
        f"spawn worker {{ group {{ child good {{ {finally_(LONG, 'child')} }};"
        f" sleep 20; say body }} {broken}; say goes on }}; sleep 10; cancel good",
    )
    yield (
        "a group in a group, the inner one fails",
        requests(
            f"group {{ child good {{ sleep 50; say runs on }};"
            f" group {{ {boom}; {finally_(LONG, 'body')} }} {broken} }} {broken}; say goes on"
        ),
    )
    yield (
        "a group in a group, the outer one fails",
        requests(
            f"group {{ {boom}; group {{ child good {{ {finally_(LONG, 'child')} }}; {LONG} }}"
            f" {broken} }} {broken}; say goes on"
        ),
    )
