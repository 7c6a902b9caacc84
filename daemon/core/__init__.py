"""The pure core. What is decided, and what state follows, without touching the world.

Rules, checked by `tests/arch`:

1. No I/O, no `async`, no clock, no randomness, no environment, no logging. Imports: the standard library's pure parts,
   msgspec, Jinja2's compiler (for expressions) and immutables (persistent maps). Nothing else of ours.
2. Three plain functions. `decide(plan, state, command)` gives the events that a command causes; `evolve(state, event)`
   gives the next state; `effects(state, events)` and `owed(state)` give what the shell must now do.
3. Deciding twice is harmless: a command carries the identity of what it is about, and a repeat decides nothing.
4. `evolve` is a dumb fold: no expressions, no plan, no handlers. What an expression gave is in the event.
5. Time, jitter and ids enter in commands. Times are aware and in UTC.
6. Expected failure is an event. An exception is a refusal (`errors.Rejected`) or a bug.
"""
