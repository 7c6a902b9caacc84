"""A client of the Debug Adapter Protocol, as an editor is one: over a socket or a process's standard streams."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter


class DapClient:
    """Sends requests, and keeps the events that come meanwhile."""

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._number = 0
        self.events: list[dict[str, Any]] = []

    async def request(self, command: str, **arguments: Any) -> Any:
        """Return the response's body; AssertionError with its message when it was refused."""
        response = await self.answer(command, **arguments)
        assert response["success"], response["message"]
        return response.get("body")

    async def answer(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Return the response, whatever it is."""
        self._number += 1
        self.send({"seq": self._number, "type": "request", "command": command, "arguments": arguments})
        while True:
            message = await self._next()
            if message["type"] == "event":
                self.events.append(message)
            elif message["request_seq"] == self._number:
                return message

    def send(self, message: dict[str, Any]) -> None:
        text = json.dumps(message).encode()
        self._writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(text), text))

    async def event(self, name: str) -> dict[str, Any]:
        """Return the body of the next event of this name; those before it are dropped."""
        while True:
            message = self.events.pop(0) if self.events else await self._next()
            if message.get("event") == name:
                body: dict[str, Any] = message["body"]
                return body

    async def move(self, command: str) -> tuple[str, int, str]:
        """Return why it has stopped, at which line, and in which frame."""
        await self.request(command, threadId=1)
        return await self.stopped()

    async def stopped(self) -> tuple[str, int, str]:
        reason = (await self.event("stopped"))["reason"]
        top = (await self.request("stackTrace", threadId=1))["stackFrames"][0]
        return reason, top["line"], top["name"]

    async def scope(self, name: str, frame: int = 1) -> dict[str, str]:
        """Return the variables of a scope as they are shown."""
        scopes = (await self.request("scopes", frameId=frame))["scopes"]
        (reference,) = [each["variablesReference"] for each in scopes if each["name"] == name]
        found = await self.request("variables", variablesReference=reference)
        return {each["name"]: each["value"] for each in found["variables"]}

    async def _next(self) -> dict[str, Any]:
        header = await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), 20)
        length = int(header.split(b":")[1])
        message: dict[str, Any] = json.loads(await self._reader.readexactly(length))
        return message
