"""sagad, the saga daemon: messages become durable, replayable executions.

Read in this order: `core/__init__` (the rules of the pure part), `core/events`, `core/decide`, `core/evolve`,
`runtime/engine`, and `tests/e2e/test_one_message.py`, which walks one message through all of it.
"""
