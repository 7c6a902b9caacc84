"""The log of everything that happened, and what is derived from it.

This package knows events as opaque structs: it imports nothing of `daemon` or `triggers`. Start with `log`, the port.
"""
