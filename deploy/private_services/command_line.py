"""The command line of `deploy/services`."""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.private_services import lifecycle
from deploy.private_services.directory import SERVERS, Directory, default_path
from deploy.private_services.errors import ServiceError
from deploy.private_services.install import install

_CHECKOUT = Path(__file__).resolve().parents[2]


def parser() -> argparse.ArgumentParser:
    """Describe the commands and their options."""
    top = argparse.ArgumentParser(
        prog="deploy/services", description="Private PostgreSQL, RabbitMQ and Kafka on loopback."
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    place = argparse.ArgumentParser(add_help=False)
    place.add_argument("--dir", type=Path, help="where data, logs and the file `env` are kept (default: .services)")
    commands.add_parser("install", help="install the programs that are missing")
    start = commands.add_parser("start", parents=[place], help="start what does not run and wait until it answers")
    start.add_argument("--only", type=_names, default=list(SERVERS), metavar="NAME,NAME", help="some services only")
    stop = commands.add_parser("stop", parents=[place], help="stop in good order; data is kept")
    stop.add_argument("names", nargs="*", metavar="NAME", help="some services only")
    for name, text in (
        ("restart", "stop in good order and start on the same ports; also after kill"),
        ("kill", "SIGKILL, as a crash would"),
    ):
        commands.add_parser(name, parents=[place], help=text).add_argument("name", choices=SERVERS)
    commands.add_parser("status", parents=[place], help="tell where each service is and how it does")
    commands.add_parser("running", parents=[place], help="print the names of the services that run")
    commands.add_parser("env", parents=[place], help="print the environment for tests, to be sourced")
    return top


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := sorted(set(names) - set(SERVERS)):
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: choose from {', '.join(SERVERS)}")
    return names


def main(arguments: Sequence[str]) -> int:
    """Do what the arguments say and return the exit code."""
    options = parser().parse_args(arguments)
    try:
        _perform(options)
    except (ServiceError, OSError, subprocess.CalledProcessError) as error:
        print(f"deploy/services: {error}", file=sys.stderr)
        return 1
    return 0


def _perform(options: argparse.Namespace) -> None:
    if options.command == "install":
        install(os.environ)
        return
    directory = Directory((options.dir or default_path(_CHECKOUT)).resolve())
    match options.command:
        case "start":
            lifecycle.start(directory, options.only, os.environ)
        case "stop":
            lifecycle.stop(directory, _names(",".join(options.names)) if options.names else list(SERVERS))
        case "restart":
            lifecycle.restart(directory, options.name)
        case "kill":
            lifecycle.kill_service(directory, options.name)
        case "status":
            lifecycle.status(directory)
        case "running":
            print(*lifecycle.running(directory))
        case "env":
            print(lifecycle.environment(directory), end="")
