"""Start, stop, kill and describe the private services of one directory."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from deploy.private_services import ports
from deploy.private_services.directory import SERVERS, Directory
from deploy.private_services.errors import ServiceError
from deploy.private_services.kafka import Kafka
from deploy.private_services.processes import kill, spawn, terminate, working_in
from deploy.private_services.records import KAFKA_KIND_VARIABLE, Record
from deploy.private_services.server import Server
from deploy.private_services.waiting import holds_within

_LOG_LINES_SHOWN = 15
_ORPHANS_LIMIT_S = 10


def start(directory: Directory, names: Sequence[str], environ: Mapping[str, str]) -> None:
    """Bring up the services, all at the same time, and return when each of them answers.

    Raises:
        ServiceError: at least one did not come up; the others run, and the environment file tells about them.

    """
    with directory.locked():
        problems = []
        with ThreadPoolExecutor(len(names)) as pool:
            for future in [pool.submit(_start_one, directory, name, environ) for name in names]:
                try:
                    print(future.result(), flush=True)
                except (ServiceError, OSError) as error:
                    problems.append(str(error))
        directory.write_environment()
    if problems:
        raise ServiceError("\n".join(problems))
    print(f"environment: source {directory.environment_file}")


def _start_one(directory: Directory, name: str, environ: Mapping[str, str]) -> str:
    record = directory.record(name)
    substitute, reason = _substitute(name, record, environ)
    if substitute is not None:
        _end(directory, name, record)
        directory.keep(name, substitute)
        return f"{name}: not started, {reason}"
    if record is not None and record.running():
        server, how = directory.server(name, record.ports), "already running"
    else:
        server, how = _launch(directory, name, record), "started"
    _wait_for_answer(directory, server)
    return f"{name}: {how} at {_where(server)}, pid {_main_pid(directory, name)}"


def _substitute(name: str, record: Record | None, environ: Mapping[str, str]) -> tuple[Record | None, str]:
    """Decide what stands in for a private server, and why; None when one is to be started."""
    server = SERVERS[name]
    given = environ.get(server.variable)
    ours = record is not None and record.kind == "private" and record.url == given  # the env file has been sourced
    if given and not ours:
        return Record(kind="given", url=given), f"{server.variable} is set and used as it is"
    problem = server.problem()
    if server is not Kafka:
        if problem:
            raise ServiceError(f"{name}: {problem}; run: deploy/services install")
        return None, ""
    if environ.get(KAFKA_KIND_VARIABLE) == "mock":
        problem = f"{KAFKA_KIND_VARIABLE}=mock asks for it"
    return (Record(kind="mock"), f"tests use librdkafka's mock cluster: {problem}") if problem else (None, "")


def _launch(directory: Directory, name: str, record: Record | None) -> Server:
    _end(directory, name, record)
    port_numbers = ports.choose(SERVERS[name].port_names, record.ports if record else {})
    server = directory.server(name, port_numbers)
    account = server.account()
    server.home.mkdir(mode=0o755, exist_ok=True)
    if account is not None:
        _check_reachable(server.home)
        account.own(server.home)
    holds_within(_ORPHANS_LIMIT_S, lambda: not working_in(server.home))
    server.prepare()
    processes = {}
    for role, command in server.commands().items():
        processes[role] = spawn(command, home=server.home, log=directory.log(name), account=account)
        record = Record(kind="private", url=server.url(), ports=port_numbers, processes=processes)
        directory.keep(name, record)
    return server


def _check_reachable(home: Path) -> None:
    """See to it that a server which root starts under another account can get to its data."""
    for parent in home.parents:
        if not parent.stat().st_mode & 0o001:
            raise ServiceError(f"{parent} is closed to the account of the server in {home}: choose another --dir")


def _wait_for_answer(directory: Directory, server: Server) -> None:
    def ended() -> bool:
        record = directory.record(server.name)
        return record is None or not record.running()

    answered = holds_within(server.start_limit_s, lambda: ended() or server.answers()) and not ended()
    if not answered:
        log = directory.log(server.name)
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_LINES_SHOWN:])
        what = "ended" if ended() else f"did not answer within {server.start_limit_s:.0f} s"
        raise ServiceError(f"{server.name} {what}; the end of {log}:\n{tail}")


def _end(directory: Directory, name: str, record: Record | None) -> None:
    if record is None or not record.processes:
        return
    server = SERVERS[name]
    for process in reversed(list(record.processes.values())):
        terminate(process, how=server.stop_signal, limit_s=server.stop_limit_s)
    directory.keep(name, replace(record, processes={}))


def stop(directory: Directory, names: Sequence[str]) -> None:
    """End the services in good order, all at the same time; data and ports are kept for the next start."""
    with directory.locked(), ThreadPoolExecutor(len(names)) as pool:
        for line in pool.map(lambda name: _stop_one(directory, name), names):
            print(line, flush=True)
        directory.write_environment()


def _stop_one(directory: Directory, name: str) -> str:
    record = directory.record(name)
    if record is None or not record.in_use():
        return f"{name}: was not running"
    if record.kind != "private":
        directory.keep(name, None)
        return f"{name}: {record.kind}, nothing to stop"
    was_running = record.running()
    _end(directory, name, record)
    return f"{name}: stopped" if was_running else f"{name}: had ended already"


def restart(directory: Directory, name: str) -> None:
    """Stop and start one service on the same ports; a crashed one is started."""
    _private(directory, name)
    with directory.locked():
        _end(directory, name, _private(directory, name))
        print(_start_one(directory, name, {}))
        directory.write_environment()


def kill_service(directory: Directory, name: str) -> None:
    """End a service as a crash would: SIGKILL to every process of it, at once. Its data and ports stay."""
    _private(directory, name)
    with directory.locked():
        record = _private(directory, name)
        family = [member for process in record.processes.values() for member in process.family()]
        if not family:
            raise ServiceError(f"{name} is not running")
        kill(family)
        print(f"{name}: killed {len(family)} processes")


def _private(directory: Directory, name: str) -> Record:
    record = directory.record(name)
    if record is None or record.kind != "private":
        raise ServiceError(f"{name} was not started here, so it cannot be restarted or killed here")
    return record


def running(directory: Directory) -> list[str]:
    """Names of the private servers that run."""
    return [name for name in SERVERS if (record := directory.record(name)) is not None and record.running()]


def status(directory: Directory) -> None:
    """Print a line for each service."""
    for name in SERVERS:
        record = directory.record(name)
        if record is None or not record.in_use():
            print(f"{name:9} not running")
        elif record.kind != "private":
            print(f"{name:9} {record.kind}")
        elif not record.running():
            print(f"{name:9} crashed (see {directory.log(name)})")
        else:
            family = [member for process in record.processes.values() for member in process.family()]
            memory = sum(member.resident_mib() for member in family)
            where = _where(directory.server(name, record.ports))
            print(f"{name:9} running at {where}, pid {_main_pid(directory, name)}, {memory:.0f} MiB")


def environment(directory: Directory) -> str:
    """Give the lines of the environment file."""
    if not directory.environment_file.exists():
        raise ServiceError("no service is in use; run: deploy/services start")
    return directory.environment_file.read_text()


def _where(server: Server) -> str:
    return f"127.0.0.1:{server.ports[server.port_names[0]]}"


def _main_pid(directory: Directory, name: str) -> int:
    record = directory.record(name)
    return list(record.processes.values())[-1].pid if record and record.processes else 0
