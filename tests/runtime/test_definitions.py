"""Definitions from files: examples, every kind of mistake with its place, and what workflows may not share."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from daemon.core.errors import Misconfigured
from daemon.core.problems import Problem
from tests.support.definitions import compiler, lines_of, load, plan_of, problems_of, told, with_node

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"

ISSUE = """
workflow: order-fulfilment
input: {type: object, required: [order_id, total], properties: {total: {type: number, minimum: 0}}}
triggers:
  - {name: orders, kafka: {topic: orders, group: sagad, batch: 500}, filter: "{{ message.value.total > 0 }}",
     dedupe: "{{ message.value.order_id }}", input: "{{ message.value }}", dead_letter: orders.dlq,
     retry: {max_attempts: 3, backoff: exponential, initial: 1s}}
  - {name: orders-queue, rabbitmq: {queue: orders, prefetch: 100}, dedupe: "{{ message.headers.id }}", input: "{{ message.value }}"}
  - {name: order-hook, webhook: {path: orders, verify: {scheme: standard-webhooks, secret: "{{ secret.ORDER_HOOK }}"}}}
  - {name: nightly, schedule: {cron: "0 3 * * *", timezone: Europe/Berlin, catch_up: last}}
nodes:
  reserve: {task: inventory.reserve, with: {order: "{{ input }}"}, retry: {max_attempts: 5, backoff: exponential, initial: 200ms, max: 30s}, timeout: 10s}
  large:   {branch: "{{ input.total > 1000 }}"}
  review:  {signal: {name: reviewed, timeout: 24h}}
  charge:  {task: payments.charge, with: {amount: "{{ input.total }}", reservation: "{{ reserve.id }}"}}
  notify:  {publish: {kafka: {topic: orders.done, key: "{{ input.order_id }}"}, value: "{{ charge }}"}}
  sorry:   {task: mail.apologise, with: {error: "{{ charge.error }}"}}
edges: [reserve -> large, large.true -> review, large.false -> charge, review -> charge, charge -> notify, charge.error -> sorry]
output: "{{ charge }}"
"""  # noqa: E501  as it is written in flow style


def test_a_definition_in_flow_style_compiles() -> None:
    plan = plan_of(ISSUE)
    assert plan.body.starts == ("reserve",)
    assert [trigger.kind for trigger in plan.definition.triggers] == ["kafka", "rabbitmq", "webhook", "schedule"]


def test_the_examples_compile_without_a_doubt() -> None:
    loaded = compiler(handlers=None).load_files([EXAMPLES])
    assert {"order-fulfilment", "hello"} <= {plan.definition.workflow for plan in loaded.plans}
    assert loaded.warnings == ()


@pytest.mark.parametrize(
    "line",
    [
        "^3: 4",
        "^colour: red",
        "^timeout: 10",
        "^timeout: 10 seconds",
        "^timeout: 0s",
        "^on_error: halt",
        "^concurrency: 0",
        "^concurrency: many",
        "^concurrency: yes",
        "^snapshot_every: -1",
        "^snapshot_interval: soon",
        "^snapshot_interval: 0s",
        "^snapshot_keep: 0",
        "^checkpoint_every: often",
        "^description: [x]",
        "^input: 3",
        "input: {^type: objekt}",
        "input: {properties: {a: {^minimum: x}}}",
        "^triggers: {}",
        "triggers: [{name: a, ^schedule: {cron: 61 * * * *}}]",
        "triggers: [{name: a, ^schedule: {cron: '* * * * *', timezone: Europe/Berlun}}]",
        "triggers: [{name: a, ^schedule: {every: 10ms}}]",
        "triggers: [{name: a, schedule: {^every: 3600}}]",
        "triggers: [{name: a, webhook: {^path: '/x', verify: {scheme: none}}}]",
        "triggers: [{name: a, ^webhook: {path: x}}]",
        "triggers: [{name: a, webhook: {path: x, verify: {^scheme: hmacc}}}]",
        "triggers: [{name: a, webhook: {path: x, verify: {scheme: github, ^sekret: x, secret: y}}}]",
        "triggers: [{name: a, rabbitmq: {queue: q, ^prefetch: 0}}]",
        "triggers: [{name: a, kafka: {topic: t, ^start_from: middle}}]",
        "^nodes: {}",
        "^workflow: w",
    ],
)
def test_every_mistake_is_told_with_its_place(line: str) -> None:
    """The last two also show that no key may be there twice."""
    [_] = told(with_node("{transform: 1}", line))


@pytest.mark.parametrize(
    ("line", "told_line"),
    [
        ("timeout: 10", "flow.yaml:6:1: the duration 10 has no unit (write 10s for seconds, 10ms for milliseconds)"),
        ("concurrency: yes", "flow.yaml:6:1: expected a whole number, not text"),
        ("on_error: contineu", "flow.yaml:6:1: 'contineu' is not known here (did you mean 'continue'?)"),
        ("ouput: 1", "flow.yaml:6:1: there is no key `ouput` here (did you mean 'output'?)"),
        (
            "triggers: [{name: a, schedule: {cron: '* * * * *', timezone: Europe/Berlun}}]",
            "flow.yaml:6:22: unknown time zone 'Europe/Berlun'; it should be like Europe/Berlin",
        ),
        (
            "triggers: [{name: a, webhook: {path: x, verify: {scheme: githup}}}]",
            "flow.yaml:6:50: 'githup' is not known here (did you mean 'github'?)",
        ),
    ],
)
def test_mistakes_come_with_what_to_write(line: str, told_line: str) -> None:
    assert lines_of(with_node("{transform: 1}", line)) == [told_line]


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ("{wait: {util: x}}", "there is no key `util` here"),
        ("{wait: {for: 1s, until: x}}", "`for` and `until` exclude each other"),
        ("{wait: {}}", "one of `for`, `until` is missing"),
        ("{wait: [1s]}", "expected a duration such as 10s or a mapping, not a list"),
        ("{publish: {value: 1}}", "one of `kafka`, `rabbitmq`, `memory` is missing"),
        ("{publish: {kafka: {topic: t}}}", "`value` is missing"),
        ("{publish: {kafka: {topic: t, keys: x}, value: 1}}", "there is no key `keys` here"),
        ("{http: {url: x, expect: [999]}}", "must be at most 599"),
        ("{http: {url: x, expect: [6xx]}}", "'6xx' is not a class of statuses"),
        ("{http: {url: x, method: get}}", "'get' is not known here"),
        ("{http: {url: 3}}", "expected text, not the number 3"),
        ("{branch: {cases: [{a: x, b: y}]}}", "must have this many keys or fewer: 1"),
        ("{branch: {cases: {a: x}}}", "expected a list, not a mapping"),
        ("{branch: {switch: x}}", "`cases` is missing"),
        ("{fail: {code: a b, message: x}}", "'a b' is not text"),
        ("{join: some}", "'some' is not known here"),
        ("{task: a.b, retry: {max_attempts: 0}}", "`max_attempts` must be at least 1"),
        ("{task: a.b, retry: {jitter: 2}}", "`jitter` must be at most 1"),
        ("{task: a.b, retry: {backoff: quadratic}}", "'quadratic' is not known here"),
    ],
)
def test_a_value_of_no_known_shape_is_explained_by_the_nearest(node: str, message: str) -> None:
    assert message in [problem.message for problem in problems_of(with_node(node))]


def test_problems_of_all_documents_and_files_come_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("workflow: a\nnodes: {a: {wait: 3}}\n---\nworkflow: b\nnodes: {a: {brunch: 3}}\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.json").write_text('{"workflow": "c",\n\t"nodes": {"a": {"transform": "{{ b }}"}}}')
    (tmp_path / "sub" / "c.yml").write_text("x: [")
    (tmp_path / "d.yaml").write_bytes(b"\xff\xfe")
    (tmp_path / "notes.txt").write_text("not read")
    (tmp_path / "empty").mkdir()
    with pytest.raises(Misconfigured) as refused:
        compiler().load_files([tmp_path, tmp_path / "none.yaml", tmp_path / "empty"])
    found = [str(replace(problem, hint=None)).replace(f"{tmp_path}/", "") for problem in refused.value.problems]
    assert found == [
        "a.yaml:2:13: expected a duration such as 10s or a mapping, not the number 3 (node a)",
        "a.yaml:5:9: the node has no type (node a)",
        "d.yaml: cannot be read: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
        "empty: no .yaml, .yml, .json in this folder",
        "none.yaml: there is no such file",
        "sub/b.json:2:35: there is nothing called `b` (node a)",
        "sub/c.yml:1:5: not YAML: expected the node content, but found '<stream end>' while parsing a flow node",
    ]


def test_files_and_folders_are_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("workflow: a\nnodes: {a: {transform: 1}}")
    loaded = compiler().load_files([tmp_path, tmp_path / "a.yaml", str(tmp_path)])
    assert [plan.definition.workflow for plan in loaded.plans] == ["a"]


def test_doubts_do_not_refuse() -> None:
    loaded = load(with_node('{branch: "{{ input.x }}"}'))
    assert len(loaded.plans) == 1
    assert [str(warning) for warning in loaded.warnings] == [
        "flow.yaml:4:3: no edge leaves by `b.true`, `b.false`: this way ends here (node b)"
    ]


def workflow(name: str, *triggers: str) -> str:
    return f"workflow: {name}\nnodes: {{a: {{transform: 1}}}}\ntriggers:\n" + "".join(
        f"- {each}\n" for each in triggers
    )


def test_a_workflow_is_defined_once() -> None:
    text = "workflow: a\nnodes: {a: {transform: 1}}\n"
    assert lines_of(f"{text}---\n{text}") == ["flow.yaml:4:1: there are two workflows 'a' (the other: flow.yaml:1:1)"]


@pytest.mark.parametrize(
    ("first", "second", "what"),
    [
        ("{name: x, webhook: {path: p, verify: {scheme: none}}}", None, "webhook p"),
        ("{name: x, kafka: {topic: t, group: g}}", None, "kafka t and g"),
        ("{name: x, rabbitmq: {queue: q}}", "{name: x, rabbitmq: {queue: q, prefetch: 1}}", "rabbitmq q"),
        ("{name: x, memory: {topic: t, group: g}}", None, "memory t and g"),
    ],
)
def test_two_triggers_do_not_take_each_others_messages(first: str, second: str | None, what: str) -> None:
    [problem] = problems_of(f"{workflow('a', first)}---\n{workflow('b', second or first)}")
    assert (problem.line, problem.column) == (9, 13)
    assert problem.message == f"{what} is taken by the trigger a/x: each message would reach only one"


@pytest.mark.parametrize(
    "trigger",
    ["{name: x, kafka: {topic: t}}", "{name: x, memory: {topic: t}}", "{name: x, schedule: {cron: 0 3 * * *}}"],
)
def test_each_group_gets_every_message(trigger: str) -> None:
    assert lines_of(f"{workflow('a', trigger)}---\n{workflow('b', trigger)}") == []


def test_settings_with_secrets_wait_for_the_secrets() -> None:
    trigger = '{name: x, schedule: {cron: "{{ secret.CRON }}"}}'
    assert lines_of(workflow("a", trigger)) == []


def test_problems_are_printed_as_editors_link_them() -> None:
    problem = Problem(message="wrong", file="a.yaml", line=3, column=7, node="charge", hint="mend it")
    assert str(problem) == "a.yaml:3:7: wrong (node charge; mend it)"
    assert str(Problem(message="wrong", path=("nodes", "a", 0))) == "nodes.a.0: wrong"
    assert str(Problem(message="wrong")) == "wrong"
