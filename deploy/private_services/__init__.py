"""Private copies of the real services that tests and developers need: PostgreSQL, RabbitMQ and Kafka.

Each copy listens on 127.0.0.1 only, on free ports, keeps its data under one directory, and is known by its process id
and start time, so that stopping it can never hit another server of the same name. Only the standard library is used:
this runs before any virtual environment exists.

`command_line` -> `lifecycle` (start, stop, kill, status) -> one `Server` each in `postgres`, `rabbitmq`, `kafka`;
`directory` keeps what is known between two runs; `install` brings the programs.
"""
