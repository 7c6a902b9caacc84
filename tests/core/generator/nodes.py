"""Random nodes of all kinds. The first of each table is the simplest; what stands there twice comes twice as often."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.core.generator import approvals, limits
from tests.core.generator.values import LARGE, Around, condition, expression, value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.core.generator.dice import Dice

    Node = dict[str, Any]
    Draw = Callable[["Dice", Around, Sequence[str]], Node]


def ports(node: Node) -> Sequence[str]:
    """Return the ports that an edge may leave the node by, the usual ones more often."""
    match node:
        case {"branch": {"switch": _, "cases": list() as cases}}:
            return (*map(str, cases), "default", "error")
        case {"branch": {"cases": list() as cases}}:
            return (*(port for case in cases for port in case), "default", "error")
        case {"branch": {"cases": dict() as cases}}:
            return (*cases, "default", "error")
        case {"branch": _}:
            return ("true", "false", "error")
        case {"approval": _}:
            return ("approved", "approved", "rejected", "error")
        case {"fail": _}:
            return ("error", "error", "out")
        case {"ports": list() as more}:
            return ("out", *more, "error")
        case _:
            return ("out", "out", "out", "error")


def plain(dice: Dice, around: Around, readable: Sequence[str], *, joins: bool) -> Node:
    """Draw a node without a body; a join only where edges lead to it."""
    kinds = [kind for kind in PLAIN if joins or kind is not _join]
    node = dice.pick(kinds)(dice, around, readable)
    return {**node, **_whatever_happens(dice)}


def with_body(dice: Dice, around: Around, readable: Sequence[str]) -> Node:
    """Draw a node that repeats a body, which is not drawn yet."""
    kind = dice.pick(tuple(REPEATS))
    node = {kind: None, **REPEATS[kind](dice, around, readable)}
    return {**node, **_whatever_happens(dice)}


def kind_of(node: Node) -> str:
    """Return by what the node repeats its body."""
    return next(kind for kind in REPEATS if kind in node)


def _whatever_happens(dice: Dice) -> Node:
    """Draw what an error does."""
    more: Node = {}
    if dice.chance(20):
        more["on_error"] = dice.pick(("continue", "stop"))
        if more["on_error"] == "continue" and dice.chance(60):
            more["default"] = dice.pick((0, {"none": True}))
    if dice.chance(5):
        more["description"] = "what it is for"
    return more


def _run(dice: Dice, around: Around, readable: Sequence[str], own: Node) -> Node:
    """Add what nodes that do something outside may say."""
    if dice.chance(35):
        own["retry"] = _retry(dice)
    if dice.chance(25):
        own["timeout"] = "1m"
    if dice.chance(40):
        own["compensate"] = _compensation(dice, around, readable)
    elif dice.chance(10):
        own["side_effects"] = "none"
    elif dice.chance(20):
        own["cache"] = limits.cache(dice, around, readable)
    return own | limits.of_a_node(dice, around, readable)


def _retry(dice: Dice) -> Node:
    retry: Node = {"max_attempts": dice.between(2, 3)}
    if dice.chance(50):
        retry |= {"initial": dice.pick(("1m", "1ms")), "jitter": 0.5}
    if dice.chance(30):
        retry |= {"backoff": dice.pick(("fixed", "linear", "exponential")), "max": "1h"}
    if dice.chance(20):
        retry["non_retryable"] = ["refused"]
    return retry


def _compensation(dice: Dice, around: Around, readable: Sequence[str]) -> Node:
    given = dice.pick(("{{ step.output }}", "{{ step.input }}", "{{ step.output.id }}"))
    undos: tuple[Node, ...] = (
        {"task": "t.undo", "with": given},
        {"task": "t.undo"},
        {"http": {"url": "https://example.org/undo", "method": "POST", "json": value(dice, around, readable)}},
        {"publish": {"memory": {"topic": "undo"}, "value": given}},
        {"irreversible": {"reason": "it is gone", "manual": "write a letter"}},
    )
    undo = dice.pick(undos)
    if "irreversible" in undo:
        return undo
    if dice.chance(50):
        undo["kind"] = dice.pick(("reversible", "idempotent", "eventual"))
    if dice.chance(40):
        undo["retry"] = _retry(dice)
    if dice.chance(20):
        undo["timeout"] = "2m"
    if dice.chance(30):
        undo["lookup"] = {"task": "t.look", "with": {"key": "{{ step.key }}"}}
    return undo


def _transform(dice: Dice, around: Around, readable: Sequence[str]) -> Node:
    return {"transform": value(dice, around, readable)}


def _task(dice: Dice, around: Around, readable: Sequence[str]) -> Node:
    node: Node = {"task": "t.x"}
    if dice.chance(50):
        node["with"] = {"value": value(dice, around, readable)}
        if dice.chance(15):
            node["with"]["token"] = "Bearer {{ secret.TOKEN }}"
    if dice.chance(15):
        node["ports"] = ["other", "third"]
    return _run(dice, around, readable, node)


def _http(dice: Dice, around: Around, readable: Sequence[str]) -> Node:
    request = {"url": "https://example.org/{{ input.n }}", "method": "POST", "json": value(dice, around, readable)}
    return _run(dice, around, readable, {"http": request})


def _publish(dice: Dice, around: Around, readable: Sequence[str]) -> Node:
    message = {"memory": {"topic": "out"}, "value": value(dice, around, readable)}
    return _run(dice, around, readable, {"publish": message})


def _sql(dice: Dice, around: Around, readable: Sequence[str]) -> Node:
    statement: Node = {"connection": "db", "query": "select %(n)s", "params": {"n": value(dice, around, readable)}}
    return _run(dice, around, readable, {"sql": statement | dice.pick(({}, {"fetch": "one"}))})


def _approval(dice: Dice, _around: Around, _readable: Sequence[str]) -> Node:
    return approvals.node(dice)


def _subflow(dice: Dice, around: Around, readable: Sequence[str]) -> Node:
    node: Node = {"subflow": "s", "with": {"value": value(dice, around, readable)}}
    if dice.chance(30):
        node["result"] = "{{ child.output }}"
    if dice.chance(40):
        node["on_close"] = dice.pick(("cancel", "terminate", "abandon"))
    if dice.chance(35):
        node["retry"] = _retry(dice)
    if dice.chance(25):
        node["timeout"] = "5m"
    return node | limits.of_a_node(dice, around, readable)


def _branch(dice: Dice, around: Around, readable: Sequence[str]) -> Node:
    test, read = condition(dice, around), expression(dice, around, readable)
    return {
        "branch": dice.pick((
            test,
            {"switch": read, "cases": [1, "text"]},
            {"switch": read, "cases": {"few": [0, 1], "many": 2}},
            {"cases": [{"first": test}, {"second": "{{ input.flag }}"}]},
        ))
    }  # fmt: skip


def _wait(dice: Dice, _around: Around, _readable: Sequence[str]) -> Node:
    return {"wait": dice.pick(("5m", {"for": "{{ input.delay }}"}, {"until": "2026-03-01T13:00:00+00:00"}, "1ms"))}


def _signal(dice: Dice, _around: Around, _readable: Sequence[str]) -> Node:
    return {
        "signal": dice.pick((
            "go",
            "stay",
            "{{ 'go' if input.flag else 'stay' }}",
            {"name": "go", "timeout": "3m"},
            {"name": "stay", "timeout": "{{ input.delay }}"},
        ))
    }  # fmt: skip


def _fail(dice: Dice, around: Around, readable: Sequence[str]) -> Node:
    message = expression(dice, around, readable)
    return {"fail": dice.pick(("no", {"message": message, "code": "refused", "details": {"n": "{{ input.n }}"}}))}


def _set(dice: Dice, around: Around, readable: Sequence[str]) -> Node:
    variables: Node = {"count": "{{ vars.count + 1 }}"}
    if dice.chance(30):
        variables["note"] = value(dice, around, readable)
    return {"set": variables}


def _join(dice: Dice, _around: Around, _readable: Sequence[str]) -> Node:
    return {"join": dice.pick(("all", "any"))}


def _function(dice: Dice, around: Around, readable: Sequence[str]) -> Node:
    return {"function": "t.f", "with": {"value": value(dice, around, readable)}}


PLAIN: tuple[Draw, ...] = (
    _transform, *[_task] * 20, _http, _http, _publish, _publish, _subflow, _subflow, *[_branch] * 3, _wait, _wait,
    _function, _function, _approval, _approval, _sql, _signal, _signal, _join, _join, _set, _set, _fail,
)  # fmt: skip


# What repeats a body. The number of turns is small: bodies are in each other.


def _loop_keys(dice: Dice, around: Around) -> Node:
    within = Around(around.level, around.prefix, ("loop", *around.turns), around.readable)
    keys: Node = {}
    if dice.chance(20):
        keys["break"] = condition(dice, within)
    if dice.chance(20):
        keys["continue"] = condition(dice, within)
    if dice.chance(30):
        keys["collect"] = dice.chance(50)
    if dice.chance(10):
        keys["aggregate"] = dice.pick(("{{ loop.total }}", {"given": "{{ loop.results }}"}))
    return keys


def _most(around: Around) -> int:
    return (4, 3, 2, 2, 1)[around.level]


def _for(dice: Dice, around: Around, _readable: Sequence[str]) -> Node:
    most = 0 if dice.chance(8) else dice.between(1, _most(around))
    count = dice.pick((most, "{{ input.n }}", {"from": 1, "to": most}, {"from": most, "to": 1, "step": -1}))
    return {"for": count, **_loop_keys(dice, around)}


def _for_each(dice: Dice, around: Around, readable: Sequence[str]) -> Node:
    items = ["a", LARGE, {"n": 3}, None][: _most(around)]
    over: Any = expression(dice, around, readable) if dice.chance(5) else dice.pick((items, "{{ input.items }}"))
    if dice.chance(30):
        over = {"pages": {"task": "t.list", "with": {"value": ["{{ page.cursor }}", "{{ input.n }}"]}}}
        if dice.chance(50):
            over["pages"] |= {"retry": {"max_attempts": 2, "initial": "1m"}, "timeout": "1m"}
    return {"forEach": over, **_loop_keys(dice, around)}


def _open_loop(kind: str) -> Draw:
    def draw(dice: Dice, around: Around, _readable: Sequence[str]) -> Node:
        test = dice.pick((*["{{ loop.index < 1 }}"] * 4, "{{ vars.count < 3 }}", "{{ input.flag }}"))
        return {kind: test, "limit": dice.between(2, _most(around) + 1), **_loop_keys(dice, around)}

    return draw


def _parallel(dice: Dice, around: Around, _readable: Sequence[str]) -> Node:
    most = 0 if dice.chance(8) else dice.between(1, _most(around))
    node: Node = {"parallel": dice.pick((most, ["a", "b"], "{{ input.items }}", [{"n": "{{ input.n }}"}]))}
    if dice.chance(30):
        node["concurrency"] = dice.between(1, 2)
    if dice.chance(40):
        node["on_failure"] = dice.pick(("fail_fast", "collect"))
    if dice.chance(30):
        node["enough"] = dice.between(1, 2)
    if dice.chance(10):
        node["limit"] = 1
    if dice.chance(10):
        node["aggregate"] = dice.pick(("{{ parallel.results }}", "{{ parallel.failed }}"))
    return node


def _saga(dice: Dice, _around: Around, _readable: Sequence[str]) -> Node:
    return {"saga": dice.pick(("automatic", "automatic", "manual", "confirm_each"))}


REPEATS: dict[str, Draw] = {
    "for": _for,
    "forEach": _for_each,
    "while": _open_loop("while"),
    "doWhile": _open_loop("doWhile"),
    "parallel": _parallel,
    "saga": _saga,
}
