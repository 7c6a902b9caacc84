"""Random values, expressions and conditions; what they read is there, or has a default.

The first of each table is the simplest; what stands there twice comes twice as often.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.core.generator.dice import Dice


LARGE = "x" * 1_100
"""As much as is let go of when nobody reads it any more."""


class Around(Struct, frozen=True):
    """Where a graph stands."""

    level: int = 0
    prefix: str = "n"
    turns: tuple[str, ...] = ()
    """What the turns around it are called, innermost first: `loop`, `parallel`."""
    readable: tuple[str, ...] = ()
    """What has settled before, further out."""

    def inside(self, kind: str, node_id: str, readable: Sequence[str]) -> Around:
        """Return where the body of this node stands, which is a loop, a fan-out or a group."""
        turns = {"parallel": ("parallel",), "saga": ()}.get(kind, ("loop",))
        return Around(self.level + 1, f"{node_id}_", (*turns, *self.turns), tuple(readable))


def value(dice: Dice, around: Around, readable: Sequence[str]) -> Any:
    """Draw a value that is a template or holds one."""
    match dice.below(5):
        case 0:
            return dice.pick((1, 0, None, "text", [1, 2], {"a": True}, LARGE))
        case 1:
            return expression(dice, around, readable)
        case 2:
            return f"{dice.pick(('{{ input.n }}', expression(dice, around, readable)))} of {{{{ vars.count }}}}"
        case 3:
            return {"it": expression(dice, around, readable), "n": 7}
        case _:
            return [expression(dice, around, readable), "{{ 1 + 1 }}"]


def expression(dice: Dice, around: Around, readable: Sequence[str]) -> str:
    """Draw an expression in its braces."""
    known = ["input.n", "vars.count", "vars.note", "execution.workflow", "trigger", "env.HOME_TOWN", "input.items"]
    known += [f"{turns}.index" for turns in around.turns]
    known += ["loop.item", "loop.previous"] if "loop" in around.turns else []
    known += ["parallel.currentItem"] if "parallel" in around.turns else []
    if readable and dice.chance(60):
        node_id = dice.pick(readable)
        read = dice.pick((*[f"{node_id} | default(0)", f"steps.{node_id} | default(none)"] * 5, node_id))
        return f"{{{{ {read} }}}}"
    return "{{ input.missing }}" if dice.chance(2) else f"{{{{ {dice.pick(known)} }}}}"


def condition(dice: Dice, around: Around) -> str:
    """Draw what is true or false; now and then it is neither."""
    if dice.chance(3):
        return "{{ input.n }}"
    known = ["input.flag", "not input.flag", "vars.count > 1", "input.n == 2"]
    known += [f"{turns}.index {test}" for turns in around.turns for test in ("> 1", "== 1")]
    return f"{{{{ {dice.pick(known)} }}}}"
