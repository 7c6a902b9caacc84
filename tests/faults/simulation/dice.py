"""Dice for one purpose each, so that throwing some more often does not change what the others give."""

from __future__ import annotations

from random import Random


def dice(*purpose: object) -> Random:
    """Return dice that fall the same way whenever they are made for the same purpose, in every process."""
    return Random(" ".join(map(str, purpose)))  # noqa: S311  nothing is kept secret here
