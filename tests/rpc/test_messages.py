"""The messages have what REST has, and their files keep buf's rules."""

import re
from collections.abc import Iterator
from importlib import import_module
from itertools import pairwise
from typing import Any

import pytest
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.timestamp_pb2 import Timestamp

from tasks.contract.events import events_since
from tasks.contract.idempotency_key import FIELD
from tasks.contract.sight import Lens, Sight
from tasks.contract.submissions import NOT_SUPPORTED
from tasks.contract.tasks import FILTERS, task_as_dict
from tasks.errors import CallboardError, FieldError, InvalidTask, MalformedRequest
from tasks.queries.happenings import Since, happenings
from tasks.rpc import errors, generate, generated, messages
from tasks.rpc.generated import (
    batch_pb2,
    dead_letter_pb2,
    journal_pb2,
    operation_pb2,
    schedule_pb2,
    task_pb2,
    worker_pb2,
)
from tasks.rpc.services import METHODS, PACKAGE
from tasks.states import (
    AttemptOutcome,
    BatchStatus,
    CatchUp,
    DeathReason,
    Door,
    EdgeState,
    EventType,
    ItemState,
    ObjectKind,
    OnFailure,
    OperationState,
    OperationVerb,
    Overlap,
    Resolution,
    Status,
    WorkerStatus,
)
from tasks.submission import FIELDS
from tasks.unique import ON_CONFLICT, UNTIL, Unique
from tests import factories

FILES: list[FileDescriptor] = [
    import_module(f"{generated.__name__}.{file.stem}_pb2").DESCRIPTOR
    for file in sorted(generate.PROTO.rglob("*.proto"))
]


def names(message: Any) -> set[str]:
    return {field.name for field in message.DESCRIPTOR.fields}


def test_a_submission_has_all_fields_of_a_task() -> None:
    later = set(NOT_SUPPORTED) - {FIELD}
    assert names(task_pb2.NewTask) == set(FIELDS) | later
    assert names(task_pb2.Unique) - {"outcome"} == set(Unique.__dataclass_fields__)
    assert names(task_pb2.ListTasksRequest) == set(FILTERS) | {"limit", "cursor"}


@pytest.mark.django_db
def test_an_answer_has_all_fields_of_a_task() -> None:
    written = task_as_dict(factories.submit(), url=str, sees=lambda _: Sight.CLEAR)
    assert names(task_pb2.Task) == set(written) - {"url", "ref"}


@pytest.mark.django_db
def test_an_event_has_all_fields_of_an_event() -> None:
    task = factories.submit()
    found = happenings({task.pk: Since()})[task.pk]
    for told in events_since(None, found, lens=Lens(Sight.CLEAR, found.task)):
        assert names(task_pb2.Event) == set(told.event)


@pytest.mark.parametrize(
    ("enum", "values"),
    [
        (task_pb2.TaskStatus, [*Status.names, "REMOVED"]),
        (task_pb2.EventType, EventType.names),
        (task_pb2.AttemptOutcome, AttemptOutcome.names),
        (task_pb2.Band, ["HIGH", "MEDIUM", "LOW"]),
        (task_pb2.OnFailure, OnFailure.names),
        (task_pb2.EdgeState, EdgeState.names),
        (task_pb2.UniqueUntil, [one.upper() for one in UNTIL]),
        (task_pb2.UniqueOnConflict, [one.upper() for one in ON_CONFLICT]),
        (dead_letter_pb2.DeathReason, DeathReason.names),
        (dead_letter_pb2.Resolution, Resolution.names),
        (worker_pb2.WorkerStatus, WorkerStatus.names),
        (batch_pb2.BatchStatus, BatchStatus.names),
        (journal_pb2.Door, Door.names),
        (journal_pb2.ObjectKind, ObjectKind.names),
        (operation_pb2.ItemState, ItemState.names),
        (operation_pb2.OperationState, OperationState.names),
        (operation_pb2.OperationVerb, OperationVerb.names),
        (schedule_pb2.CatchUp, CatchUp.names),
        (schedule_pb2.Overlap, Overlap.names),
    ],
    ids=lambda value: value.DESCRIPTOR.name if hasattr(value, "DESCRIPTOR") else "",
)
def test_an_enumeration_has_all_values(enum: Any, values: list[str]) -> None:
    prefix = messages._prefix(enum.DESCRIPTOR)
    assert set(enum.keys()) == {f"{prefix}{one}" for one in ["UNSPECIFIED", *values]}


def test_every_method_of_the_files_is_served() -> None:
    declared = {
        f"/{service.full_name}/{method.name}": method
        for file in FILES
        for service in file.services_by_name.values()
        for method in service.methods
    }
    assert set(declared) == set(METHODS)
    for path, method in METHODS.items():
        assert declared[path].input_type is method.request.DESCRIPTOR
        assert declared[path].output_type is method.response.DESCRIPTOR
        assert declared[path].client_streaming == method.is_stream
        assert declared[path].server_streaming == (method.is_stream or method.is_watch)


def test_the_generated_code_is_that_of_the_files() -> None:
    assert generate.differences() == []


def faults() -> Iterator[str]:
    """Check the rules of buf's category STANDARD that a descriptor or the text can show."""
    for file in FILES:
        text = (generate.PROTO / file.name).read_text()
        if file.package != PACKAGE or not file.name.startswith(f"{PACKAGE.replace('.', '/')}/"):
            yield f"{file.name}: package"
        for service in file.services_by_name.values():
            if not service.name.endswith("Service"):
                yield service.full_name
            for method in service.methods:
                if (method.input_type.name, method.output_type.name) != (
                    f"{method.name}Request",
                    f"{method.name}Response",
                ):
                    yield method.full_name
        for enum in file.enum_types_by_name.values():
            prefix = re.sub(r"(?<!^)([A-Z])", r"_\1", enum.name).upper()
            if enum.values[0].number != 0 or enum.values[0].name != f"{prefix}_UNSPECIFIED":
                yield enum.full_name
            yield from (one.name for one in enum.values if not one.name.startswith(f"{prefix}_"))
        for message in file.message_types_by_name.values():
            yield from (one.full_name for one in message.fields if not re.fullmatch(r"[a-z][a-z0-9_]*", one.name))
        lines = text.splitlines()
        for before, line in pairwise(lines):
            is_declaration = re.match(r"\s*(message|enum|service|rpc|optional|repeated|map<|[\w.]+ \w+ = \d+)", line)
            if is_declaration and not before.strip().startswith("//") and not line.startswith("import"):
                yield f"{file.name}: no comment: {line.strip()}"


def test_the_files_keep_the_rules_of_buf_and_explain_everything() -> None:
    assert list(faults()) == []


def test_times_and_json_are_read_exactly() -> None:
    task = task_pb2.NewTask(payload='{"n": 1152921504606846977}', run_at=Timestamp(seconds=1, nanos=500_000_000))
    read = messages.read(task_pb2.SubmitTaskRequest, task_pb2.SubmitTaskRequest(task=task).SerializeToString())
    assert read == {"task": {"payload": {"n": 2**60 + 1}, "run_at": "1970-01-01T00:00:01.500Z"}}


@pytest.mark.parametrize(
    ("task", "field"),
    [
        (task_pb2.NewTask(payload='{"a": 1, "a": 2}'), "tasks.0.payload"),
        (task_pb2.NewTask(payload="NaN"), "tasks.0.payload"),
        (task_pb2.NewTask(payload='"\\ud800"[' + "[" * 1_000), "tasks.0.payload"),
        (task_pb2.NewTask(run_at=Timestamp(seconds=2**62)), "tasks.0.run_at"),
        (task_pb2.NewTask(run_at=Timestamp(nanos=-1)), "tasks.0.run_at"),
    ],
)
def test_what_cannot_be_read_is_named(task: Any, field: str) -> None:
    raw = task_pb2.SubmitTasksRequest(tasks=[task]).SerializeToString()
    with pytest.raises(InvalidTask) as caught:
        messages.read(task_pb2.SubmitTasksRequest, raw)
    assert [one.field for one in caught.value.errors] == [field]


def test_unknown_fields_are_refused_wherever_they_are() -> None:
    inner = task_pb2.NewTask(actor="act").SerializeToString() + b"\xf8\x7f\x01"
    raw = b"\x0a" + bytes([len(inner)]) + inner
    with pytest.raises(MalformedRequest, match="fields that this server does not know"):
        messages.read(task_pb2.SubmitTaskRequest, raw)


def test_a_status_fits_into_metadata_and_is_clean() -> None:
    many = [FieldError(f"tasks.{n}.payload.\ud800", "invalid", "x" * 500) for n in range(100)]
    status = errors.status_of(InvalidTask("line\nbreak", errors=many))
    assert status.ByteSize() < 6_000
    assert status.message == "line\\x0abreak"
    assert errors.status_of(CallboardError()).code == 13
