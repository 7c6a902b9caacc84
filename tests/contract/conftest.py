"""A store of each kind for every test here."""

from tests.support.stores import reopen, store, store_url

__all__ = ["reopen", "store", "store_url"]
