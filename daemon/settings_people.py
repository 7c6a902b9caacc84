"""Settings of people who decide: who is who, the links that they get, and the server for mails.

Comes from: `settings`, which reads them.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003  the reader resolves the annotations at run time
from dataclasses import dataclass, field
from pathlib import Path  # noqa: TC003  the reader resolves the annotations at run time
from typing import TYPE_CHECKING, Annotated, Literal

from daemon.settings_reader import Between, Url

if TYPE_CHECKING:
    from daemon.settings_reader import Reader


@dataclass(frozen=True, kw_only=True)
class Approvals:
    """`[approvals]`: who is who, and the links by which people decide."""

    groups: tuple[str, ...] = ()
    """Each is `name: member member`; `group:name` stands for any one of them among approvers."""
    public_url: Annotated[str, Url("http", "https")] | None = None
    """Where people reach this daemon; links begin with it. None sends notices without links."""
    link_keys: tuple[str, ...] = field(default=(), repr=False)
    """The first signs links, all are accepted: put a new one first, take the old one out when its links are over."""
    link_lifetime_s: Annotated[float, Between(60, 366 * 86400)] = 7 * 86400.0
    """Of a link to an approval without a time limit; others last as long as that."""

    @property
    def members(self) -> Mapping[str, frozenset[str]]:
        """Members by group."""
        pairs = (group.partition(":") for group in self.groups)
        return {name.strip(): frozenset(members.split()) for name, _, members in pairs}


@dataclass(frozen=True, kw_only=True)
class Smtp:
    """`[smtp]`: the server for mails; without `host` none are sent."""

    host: str | None = None
    port: Annotated[int, Between(1, 65535)] = 587
    tls: Literal["starttls", "tls", "none"] = "starttls"
    """`tls` from the first byte on, as on port 465."""
    ca_file: Path | None = None
    """Authorities to trust instead of the system's; PEM."""
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sender: str = "sagad@localhost"
    """The address that mails come from."""


def check_people(approvals: Approvals, smtp: Smtp, reader: Reader, *, shortest: int) -> None:
    """Report what is wrong with them; a key of links has `shortest` characters or more."""
    for group in approvals.groups:
        name, colon, members = group.partition(":")
        if not name.strip() or not colon or not members.split():
            reader.report("approvals", "groups", f"{group!r} is not `name: member member`")
    if any(len(key) < shortest for key in approvals.link_keys):
        reader.report("approvals", "link_keys", f"must have at least {shortest} characters each")
    if approvals.public_url is not None and not approvals.link_keys:
        reader.report("approvals", "link_keys", "is missing: there is a public_url", "set SAGAD_APPROVALS_LINK_KEYS")
    if smtp.username is not None and smtp.password is None:
        reader.report("smtp", "password", "is missing: there is a username", "set SAGAD_SMTP_PASSWORD")
