"""A store of each kind for every test here."""

from tests.support.stores import memory_time, reopen, store, store_url

__all__ = ["memory_time", "reopen", "store", "store_url"]
