"""Free ports on the loopback interface."""

import random
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress

from deploy.private_services.errors import ServiceError

# Below Linux' range for outgoing connections (from 32768), so that a client cannot take the port of a server that is
# being restarted, and above the default port of every service used here.
PORT_RANGE = range(20_000, 30_000)
_TRIES = 200


def is_free(port: int) -> bool:
    """Tell whether a server could listen on the port now; connections in TIME_WAIT do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return True
    return False


def choose(names: Iterable[str], previous: Mapping[str, int]) -> dict[str, int]:
    """Give each name a port: the previous ones while all of them are free, so that clients find the server again."""
    wanted = tuple(names)
    if set(wanted) <= set(previous) and all(is_free(previous[name]) for name in wanted):
        return {name: previous[name] for name in wanted}
    chosen: dict[str, int] = {}
    candidates = iter(random.sample(PORT_RANGE, _TRIES))
    for name in wanted:
        port = next((port for port in candidates if is_free(port)), None)
        if port is None:
            raise ServiceError(f"no free port between {PORT_RANGE.start} and {PORT_RANGE.stop - 1}")
        chosen[name] = port
    return chosen
