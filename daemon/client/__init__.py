"""sagad from Python: everything that a daemon's HTTP API does, and nothing else.

    async with Client("http://127.0.0.1:8750", token="…") as sagad:
        order = await sagad.start("order", {"total": 7}, key="order-7")
        print(await order.result())
        print(await order.diff(version=3))

Answers are dicts in the shapes of the OpenAPI document (`GET /openapi.json`), times in them RFC 3339. It needs httpx
alone: neither a store nor the definitions.
"""

from daemon.client.client import Client
from daemon.client.errors import ClientError, NoAnswer, NotCompleted, NotFound, Refused
from daemon.client.execution import Execution

__all__ = ["Client", "ClientError", "Execution", "NoAnswer", "NotCompleted", "NotFound", "Refused"]
