"""Where messages come from. Adapters are thin: they turn a message into an `Inbound` and obey a `Verdict`.

This package imports nothing of `daemon` or `eventstore`. Start with `message`, the port.
"""
