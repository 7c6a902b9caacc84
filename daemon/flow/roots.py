"""What expressions read beside the nodes: `variables.total`, `env.REGION`, `secret.TOKEN`, `message.value`.

They have the names of the expression language (`variables` is `vars` there) and no types: cast them where it matters.
"""

from __future__ import annotations

from typing import Any, cast

from daemon.flow.reference import Ref

variables = cast("Any", Ref("vars"))
"""The execution's variables: what `vars=` of the workflow and `assign` nodes have set."""
env = cast("Any", Ref("env"))
"""Environment variables that the daemon's settings allow."""
secret = cast("Any", Ref("secret"))
"""Secrets, filled in when a step is called: `f"Bearer {secret.TOKEN}"`. Nothing can be computed from one."""
trigger = cast("Any", Ref("trigger"))
"""What has started the execution."""
execution = cast("Any", Ref("execution"))
"""`id`, `workflow`, `started_at`."""
child = cast("Any", Ref("child"))
"""In the `result` of a workflow that is called: the execution's `output` and `id`."""
update = cast("Any", Ref("update"))
"""In the `updates` of a workflow: `update.data` is what was sent."""
query = cast("Any", Ref("query"))
"""In the `queries` of a workflow: `query.data` is what was sent."""
message = cast("Any", Ref("message"))
"""In the `filter`, `dedupe`, `input` and `signal` of a trigger: the message; its content is `message.value`."""
