"""The JSON Schema (2020-12) of a definition, assembled from the node types and the kinds of triggers.

It is published (`sagad schema`, `GET /definition-schema`), so that editors complete and explain a definition while it
is written, and its pieces are what `parsing` has each part of a definition checked against.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daemon.core.address import NODE_ID
from daemon.core.retention import RETENTION
from daemon.core.schema_parts import (
    DEFS,
    anything,
    choice,
    either,
    list_of,
    mapping,
    mapping_of,
    ref,
    text,
    whole_number,
    yes_no,
)
from daemon.core.trigger_schemas import KINDS, NAME_PATTERN, trigger_schema

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.core.node import NodeType
    from daemon.core.schema_parts import Schema

COMMON_KEYS: Mapping[str, Schema] = {
    "description": text("What the node is for, for people."),
    "after": {
        "enum": ["all", "any"],
        "default": "all",
        "description": "When a node with several incoming edges begins: `all` waits for every edge that can still fire,"
        " `any` begins with the first.",
    },
    "on_error": ref("on_error", "What an error without an `error` edge does; the workflow's `on_error` if not given."),
    "default": anything(
        "The output when the step failed and `on_error` is `continue`; without it, what follows is skipped."
    ),
    "checkpoint": yes_no(
        "Whether the version at which the step succeeds is a checkpoint: a snapshot that is kept, under the step's"
        " address.",
        default=False,
    ),
}
"""Keys that every node may have."""

RUN_KEYS: Mapping[str, Schema] = {
    "retry": ref("retry", "When a failed attempt is tried again; without it there is one attempt."),
    "timeout": ref("duration", "Limit of one attempt."),
    "throttle": ref("throttle", "Limits that the step shares with those of other executions, on all daemons."),
    "priority": ref("priority", "Who goes first where there is a limit; the workflow's `priority` if not given."),
    "compensate": ref("compensation", "What undoes the step if the execution does not complete."),
    "cache": mapping(
        "Its results are kept for other steps, which then need not run. Not for a node that has a compensation.",
        {
            "key": anything(
                "What the result depends on, usually an expression; a step whose key is equal gets the result. `null`"
                " asks nothing and keeps nothing. Recorded and stored as a hash; secrets are not allowed.",
                examples=["{{ input.customer }}", ["{{ input.from }}", "{{ input.to }}"]],
            ),
            "ttl": ref("duration", "How long a result may be used."),
            "name": text(
                "Name of a cache that nodes share, in this workflow or others; `workflow/node` if not given.",
                pattern=NAME_PATTERN,
            )
            | {"x-expected": "a name"},
        },
        "key",
        "ttl",
    ),
    "side_effects": {
        "const": "none",
        "description": "`none`: the step changes nothing outside, so there is nothing to undo.",
    },
}
"""Keys of the nodes that do something outside, and so take time and may be tried again."""

BODY_KEY = "do"

_EDGE = text(
    "`a -> b`; `a.port -> b` leaves by a port (`error`, or one of a branch); `a -> b -> c` and `a -> [b, c]` are short"
    " for several.",
    pattern="->",
    examples=["reserve -> charge", "charge.error -> apologise"],
) | {"x-expected": "an edge such as `a -> b`"}

_KIND = choice(
    "`reversible`: it takes the effect back; `idempotent`: it may also run when the effect never happened, and does"
    " when that is not known; `eventual`: it only asks for it, and the effect is gone some time later.",
    "reversible",
    "idempotent",
    "eventual",
    default="reversible",
)
_IRREVERSIBLE = mapping(
    "The effect stays: a person is asked to see to it.",
    {
        "reason": text("Why nothing undoes it."),
        "manual": text("What the person has to do."),
    },
    "reason",
)

_LOOKUP: Schema = {
    "type": "object",
    "x-expected": "a mapping",
    "description": "Finds out whether the step took effect where its attempts left that open: a node such as"
    " `{task: payments.find, with: {key: '{{ step.key }}'}}`. What it gives is `step.output` for the compensation;"
    " nothing (`null`, `false`) says that there is nothing to undo. If it fails, a person is asked.",
}

GRAPH: Mapping[str, Schema] = {
    "nodes": mapping_of("The nodes by id: letters, digits and `_`.", {}) | {"minProperties": 1},
    "edges": list_of("What follows what; a node without incoming edges begins at once.", _EDGE),
}

BODY: Mapping[str, Schema] = {
    **GRAPH,
    "output": anything(
        "What a turn gives; if not given, the outputs of the nodes that nothing follows, by id.",
        examples=["{{ charge }}"],
    ),
}

_SCHEMA: Schema = {
    "type": "object",
    "x-expected": "a JSON Schema",
    "description": "JSON Schema (2020-12) of the data; what does not match is refused.",
}


def _named(description: str, properties: Mapping[str, Schema], *required: str) -> Schema:
    names = {"propertyNames": {"minLength": 1, "maxLength": 255}}
    return mapping_of(description, mapping("Its keys.", properties, *required)) | names


TOP_LEVEL: Mapping[str, Schema] = {
    "workflow": text("The workflow's name.", pattern=NAME_PATTERN, examples=["order-fulfilment"])
    | {"x-expected": "a name"},
    "description": text("What the workflow is for, for people."),
    "input": {
        "type": "object",
        "x-expected": "a JSON Schema",
        "description": "JSON Schema (2020-12) of the input; an input that does not match starts nothing.",
    },
    "triggers": list_of("What starts or signals executions.", {}),
    "vars": mapping_of(
        "The workflow's variables and their first values; a `set` node changes them.", anything("A fixed value.")
    )
    | {"propertyNames": {"pattern": f"^{NODE_ID.pattern}$"}},
    **GRAPH,
    "output": anything(
        "The execution's output; if not given, the outputs of the nodes that nothing follows, by id.",
        examples=["{{ charge }}"],
    ),
    "signals": _named(
        "The signals that executions take, by name. When this is given, signals of other names are refused.",
        {"data": _SCHEMA, "description": text("What the signal means, for people.")},
    ),
    "updates": _named(
        "Messages that are answered with a result at once, by name: checked, then their effect, in one commit.",
        {
            "data": _SCHEMA,
            "description": text("What the update is for, for people."),
            "accept": anything(
                "It must give true, or the update is refused.", examples=["{{ vars.status == 'open' }}"]
            ),
            "refusal": anything("What the sender is told then.", examples=["the order is {{ vars.status }}"]),
            "set": mapping_of(
                "Variables that it sets, made of `update.data`.",
                anything("The value.", examples=["{{ vars.items + [update.data] }}"]),
            ),
            "signal": text("A signal that the update stands for too, with its data."),
            "result": anything("What the sender is given.", examples=["{{ vars.items | length }}"]),
        },
    ),
    "queries": _named(
        "What can be asked of an execution, by name; a query changes nothing.",
        {
            "data": _SCHEMA,
            "description": text("What the query tells, for people."),
            "result": anything("The answer; it may read `query.data`.", examples=["{{ vars.items }}"]),
        },
        "result",
    ),
    "concurrency": whole_number(
        "How many steps of one execution may be at work at once.", minimum=1, maximum=10_000, default=64
    ),
    "timeout": ref("duration", "Limit of the whole execution, from its start."),
    "on_error": ref("on_error", "What an error without an `error` edge does, for nodes that do not say."),
    "limits": mapping(
        "What one execution may hold; a step whose result is more fails, and says so.",
        {
            "output_bytes": whole_number("Of one step's output.", minimum=1, default=16 * 2**20),
            "context_bytes": whole_number(
                "Of all that is kept for expressions: input, outputs, items of loops, variables.",
                minimum=1,
                default=64 * 2**20,
            ),
            "depth": whole_number(
                "How many executions may stand above one another as subflows: a recursion ends there with the code"
                " `recursion`.",
                minimum=1,
                maximum=1000,
                default=16,
            ),
        },
    ),
    "throttle": ref(
        "throttle",
        "How many executions are at work at once, on all daemons, by key; the others wait before their first step.",
    ),
    "priority": ref("priority", "Who goes first where there is a limit; for nodes too that do not say."),
    "subject": ref(
        "template",
        "Whose data executions hold: a text or a number, of `input` and `trigger`. All their values are encrypted with"
        " that subject's key, and `sagad forget` destroys it. Needs `keys` in `[encryption]`.",
    ),
    "start": ref("start", "When executions begin, and how many of a key."),
    "undo": choice(
        "What becomes of the compensations that are owed when the execution fails, times out or is cancelled:"
        " `automatic` runs them, `manual` waits until a person lets the plan run, `confirm_each` asks for each,"
        " `none` leaves everything as it is.",
        "automatic",
        "manual",
        "confirm_each",
        "none",
        default="automatic",
    ),
    "snapshot_every": whole_number(
        "Events of an execution between two snapshots of its state; 0 for none. If not given, as `[snapshots]` in the"
        " settings says: 200, unless it says another.",
        minimum=0,
    ),
    "snapshot_interval": ref(
        "duration", "Time between two snapshots of an execution that goes on. If not given, as the settings say."
    ),
    "snapshot_keep": whole_number(
        "How many snapshots of an execution are kept, the newest. If not given, as the settings say: 3, unless they say"
        " another.",
        minimum=1,
        maximum=1000,
    ),
    "checkpoint_every": whole_number(
        "After so many events, and each time again, the execution gets a checkpoint: a snapshot with a name, `event"
        " 100`, that is kept. With it the state at any past time is read from the checkpoint before; 0 for none.",
        minimum=0,
        default=0,
    ),
    "retention": RETENTION,
}


def node_schema(node_type: NodeType) -> Schema:
    """Return the schema of a whole node of this type."""
    properties = {node_type.name: node_type.schema, **node_type.keys, **allowed_keys(node_type)}
    body = () if node_type.turns is None else (BODY_KEY,)
    return mapping(node_type.summary, properties, node_type.name, *node_type.required, *body)


def allowed_keys(node_type: NodeType) -> Mapping[str, Schema]:
    """Return which of the common keys a node of this type may have."""
    if node_type.turns is not None:
        return {**COMMON_KEYS, BODY_KEY: ref("body", "What is repeated: nodes, edges, and what a turn gives.")}
    return COMMON_KEYS if node_type.execute is None else {**COMMON_KEYS, **RUN_KEYS}


def compensation_schema(node_type: NodeType | None) -> Schema:
    """Return the schema of a compensation by a node of this type; None is for what only a person can undo."""
    if node_type is None:
        return mapping("What only a person can undo.", {"irreversible": _IRREVERSIBLE}, "irreversible")
    own = {node_type.name: node_type.schema, **node_type.keys}
    how = {key: RUN_KEYS[key] for key in ("retry", "timeout")} | {"kind": _KIND, "lookup": _LOOKUP}
    return mapping(node_type.summary, {**own, **how}, node_type.name, *node_type.required)


def lookup_schema(node_type: NodeType) -> Schema:
    """Return the schema of a lookup by a node of this type."""
    how = {key: RUN_KEYS[key] for key in ("retry", "timeout")}
    own = {node_type.name: node_type.schema, **node_type.keys}
    return mapping(node_type.summary, {**own, **how}, node_type.name, *node_type.required)


def body_schema() -> Schema:
    """Return the schema of a body with its nodes left open, for `parsing`."""
    return mapping("What is repeated.", BODY, "nodes")


def document_schema() -> Schema:
    """Return the schema of a definition with its nodes and triggers left open, for `parsing`."""
    return mapping("A workflow.", TOP_LEVEL, "workflow", "nodes")


def definition_schema(node_types: Mapping[str, NodeType]) -> dict[str, Any]:
    """Return the whole schema, to be published."""
    definitions = {
        **DEFS,
        **{f"{kind}_trigger": trigger_schema(kind) for kind in KINDS},
        **{f"{name}_node": node_schema(node_type) for name, node_type in sorted(node_types.items())},
    }
    triggers = [ref(f"{kind}_trigger") for kind in KINDS]
    nodes = {
        **mapping_of(
            GRAPH["nodes"]["description"], either("A node.", *(ref(f"{name}_node") for name in sorted(node_types)))
        ),
        "propertyNames": {"pattern": f"^{NODE_ID.pattern}$"},
        "minProperties": 1,
    }
    runs = [node_type for _, node_type in sorted(node_types.items()) if node_type.execute is not None]
    definitions |= {f"{each.name}_compensation": compensation_schema(each) for each in runs}
    definitions["compensation"] = either(
        "What undoes the step: a node; its templates may read `step.input` and `step.output`.",
        *(ref(f"{each.name}_compensation") for each in runs),
        compensation_schema(None),
    )
    definitions["body"] = mapping("What is repeated.", {**BODY, "nodes": nodes}, "nodes")
    properties = {
        **TOP_LEVEL,
        "triggers": list_of(TOP_LEVEL["triggers"]["description"], either("A trigger.", *triggers)),
        "nodes": nodes,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "sagad workflow",
        **mapping("A workflow of sagad.", properties, "workflow", "nodes"),
        "$defs": definitions,
    }
