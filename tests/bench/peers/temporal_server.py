"""The configuration of a Temporal server for one order: all its services in one process, on loopback ports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

SERVICES = ("frontend", "matching", "history", "worker")


def configuration(
    url: str, visibility: str, ports: Sequence[int], dynamic: Path, tuning: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the server's settings: those of its development configuration, but for `tuning`; needs nine ports."""
    return {
        "log": {"stdout": True, "level": "error"},
        "persistence": {
            "defaultStore": "default",
            "visibilityStore": "visibility",
            "numHistoryShards": tuning.get("shards", 4),
            "datastores": {
                "default": {"sql": _database(url, tuning.get("connections", 20))},
                "visibility": {"sql": _database(visibility, tuning.get("visibility_connections", 2))},
            },
        },
        "global": {"membership": {"maxJoinDuration": "30s", "broadcastAddress": "127.0.0.1"}},
        "services": {
            name: {
                "rpc": {
                    "grpcPort": ports[index],
                    "membershipPort": ports[index + len(SERVICES)],
                    "bindOnLocalHost": True,
                }
            }
            for index, name in enumerate(SERVICES)
        },
        "clusterMetadata": {
            "enableGlobalNamespace": False,
            "failoverVersionIncrement": 10,
            "masterClusterName": "active",
            "currentClusterName": "active",
            "clusterInformation": {
                "active": {
                    "enabled": True,
                    "initialFailoverVersion": 1,
                    "rpcName": "frontend",
                    "rpcAddress": f"127.0.0.1:{ports[0]}",
                }
            },
        },
        "dcRedirectionPolicy": {"policy": "noop"},
        "dynamicConfigClient": {"filepath": str(dynamic), "pollInterval": "10s"},
    }


def _database(url: str, connections: int) -> dict[str, Any]:
    at = urlsplit(url)
    return {
        "pluginName": "postgres12_pgx",
        "databaseName": at.path[1:],
        "connectAddr": f"{at.hostname}:{at.port}",
        "connectProtocol": "tcp",
        "user": at.username,
        "password": at.password,
        "maxConns": connections,
        "maxIdleConns": connections,
        "maxConnLifetime": "1h",
    }
