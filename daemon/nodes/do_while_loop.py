"""`doWhile`: repeat the body while a condition holds, which is asked after each turn."""

from __future__ import annotations

from daemon.nodes.repeating import open_loop

NODE_TYPE = open_loop(
    "doWhile",
    "again",
    "Repeats its body, at least once, while a condition holds, which is asked after each turn and may read what was in"
    " it.",
)
