"""TLS settings of both brokers, and the context made of them."""

from __future__ import annotations

import ssl

from msgspec import Struct


class Tls(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to speak TLS to a broker. All paths are PEM files; with none, the system's authorities are trusted."""

    ca_file: str | None = None
    """Authorities to trust instead of the system's."""
    cert_file: str | None = None
    """Client certificate, for brokers that ask for one."""
    key_file: str | None = None
    """Its private key, when it is not in `cert_file`."""
    key_password: str | None = None
    verify_hostname: bool = True
    """False accepts a certificate made out to another name; the chain is verified all the same."""

    def __repr__(self) -> str:
        """Leave the key's password out of logs."""
        return f"Tls(ca_file={self.ca_file!r}, cert_file={self.cert_file!r}, verify_hostname={self.verify_hostname})"


def ssl_context(tls: Tls) -> ssl.SSLContext:
    """Read the files. Raises `OSError` or `ssl.SSLError` when one is missing or is not what it should be."""
    context = ssl.create_default_context(cafile=tls.ca_file)
    context.check_hostname = tls.verify_hostname
    if tls.cert_file is not None:
        context.load_cert_chain(tls.cert_file, tls.key_file, tls.key_password)
    return context
