"""The daemon's HTTP API, as the commands use it."""

from __future__ import annotations

import getpass
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import httpx

from daemon.cli.faults import BadUsage, CommandError, Failed, NoAnswer, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from daemon.settings import Settings

TIMEOUT_S = 30.0
NO_DAEMON = "start one with `sagad run`, or name another with --url"


class Connection:
    """One daemon. Raises the errors of `faults`: NotFound, Failed, BadUsage, NoAnswer."""

    def __init__(self, settings: Settings, url: str | None = None) -> None:
        self.url = (url or address_of(settings)).rstrip("/")
        token = settings.http.token
        self.headers = {"Sagad-Actor": f"cli:{_user()}"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._client = httpx.Client(base_url=self.url, headers=self.headers, timeout=TIMEOUT_S, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, path: str, *, wait_s: float = 0.0, **parameters: Any) -> Any:
        """Return the answer's JSON. Parameters that are None are left out; `wait_s` is as in `post`."""
        return self._send("GET", path, parameters, timeout=TIMEOUT_S + wait_s).json()

    def post(
        self,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        wait_s: float = 0.0,
        **parameters: Any,
    ) -> Any:
        """Send JSON, return the answer's; `wait_s` is how much longer than usual it may take."""
        timeout_s = TIMEOUT_S + wait_s
        return self._send("POST", path, parameters, json=body, headers=headers, timeout=timeout_s).json()

    def put(self, path: str, body: Any) -> Any:
        """Put JSON there, return the answer's."""
        return self._send("PUT", path, {}, json=body).json()

    def delete(self, path: str, **parameters: Any) -> Any:
        """Delete, return the answer's JSON. Parameters that are None are left out."""
        return self._send("DELETE", path, parameters).json()

    def post_raw(self, path: str, body: bytes, headers: Mapping[str, str]) -> Any:
        """Send these bytes, return the answer's JSON."""
        return self._send("POST", path, {}, content=body, headers=headers).json()

    def lines(self, path: str, accept: str, **parameters: Any) -> Iterator[str]:
        """Yield the lines of an answer as they come."""
        with (
            self._answering(),
            self._client.stream("GET", path, params=_given(parameters), headers={"Accept": accept}) as answer,
        ):
            if answer.is_error:
                answer.read()
                raise _error(answer)
            yield from answer.iter_lines()

    def _send(self, method: str, path: str, parameters: Mapping[str, Any], **more: Any) -> httpx.Response:
        with self._answering():
            answer = self._client.request(method, path, params=_given(parameters), **more)
        if answer.is_error:
            raise _error(answer)
        return answer

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException:
            raise NoAnswer(f"the daemon at {self.url} did not answer in time") from None
        except httpx.TransportError as error:
            raise NoAnswer(f"no daemon answers at {self.url}: {error}", hint=NO_DAEMON) from None


def address_of(settings: Settings) -> str:
    """Return the address at which the daemon of these settings listens, as seen from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.http.host, settings.http.host)  # noqa: S104  not bound here
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.http.port}"


def _given(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if value is not None}


def _error(answer: httpx.Response) -> CommandError:
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return NoAnswer(f"{answer.url} answered {answer.status_code}, and not as sagad does", hint=NO_DAEMON)
    match answer.status_code:
        case 401 if answer.url.path.startswith("/hooks/"):
            return Failed(detail, hint="is the trigger's secret here the same as the daemon's?")
        case 401:
            return BadUsage(detail, hint="set SAGAD_HTTP_TOKEN to the daemon's token")
        case 404 | 410:
            return NotFound(detail)
        case 503:
            return NoAnswer(detail)
        case _:
            return Failed(detail)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
