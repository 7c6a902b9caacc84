"""`while`: repeat the body while a condition holds, which is asked before each turn."""

from __future__ import annotations

from daemon.nodes.repeating import open_loop

NODE_TYPE = open_loop(
    "while",
    "going",
    "Repeats its body while a condition holds, which is asked before each turn; `loop.previous` is what the turn before"
    " gave.",
)
