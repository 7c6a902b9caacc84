"""`sagad`: the command line. `main` is the program; `python -m daemon.cli` is the same.

Exit codes, the same for all commands:

| code | means |
|---|---|
| 0 | done; or the answer is yes |
| 1 | it failed, was refused, or the answer is no (`validate`, `doctor`, `start --wait` of a failed execution) |
| 2 | the command, the settings or a definition cannot work as written |
| 3 | there is no such execution, workflow or trigger |
| 4 | daemon, store or broker did not answer |
| 130 | interrupted |

Reading commands (`list`, `show`, `events`, `state`, `why`) open the store and need no daemon, except with `--url` or an
in-memory store. Commands that change something ask the daemon.
"""

from __future__ import annotations

from daemon.cli.program import main

__all__ = ["main"]
