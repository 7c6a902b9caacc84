"""The one error of these scripts."""


class ServiceError(Exception):
    """Something that the person at the keyboard has to know or do; the message is shown without a traceback."""
