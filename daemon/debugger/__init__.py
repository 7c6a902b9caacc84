"""The debugger: moving in an execution, forwards and backwards, and looking at it; recorded, or carried out here.

`moments` and `session` are pure. Nothing here writes to the store of the settings.
"""
