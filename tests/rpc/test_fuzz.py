"""No message, however odd, is answered by INTERNAL or UNKNOWN."""

from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.lifecycle import Author, operations
from tasks.lifecycle.operations import Plan
from tasks.models import Task
from tasks.rpc import errors
from tasks.rpc.services import METHODS, PACKAGE
from tasks.states import Door, OperationVerb, Status
from tests import factories
from tests.callers import Caller
from tests.contract.doors import answer

#: Bounds of a whole number, by its number of bits.
_INT = {FieldDescriptor.TYPE_INT32: 31, FieldDescriptor.TYPE_INT64: 63}
_TEXTS = [
    *("", "act", "default", "other", "k", "\0", "\ufffd", "a\nb", "x" * 300, "nonsense"),
    *("{}", '{"do": "return"}', '{"do": "return", "value": 1e999}', "[", "null", '"\\ud800"', "9" * 5_000, "[" * 500),
]
#: Names of conditions.
_FILTERS = ["actor", "queue", "status", "failure", "resolution", "created_after", "limit"]


def odd(kind: Any, *, texts: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Give fields of a message, some of them hostile."""
    return st.fixed_dictionaries({}, optional={field.name: _values(field, texts) for field in kind.fields})


def _values(field: FieldDescriptor, texts: list[str]) -> st.SearchStrategy[Any]:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
        return st.dictionaries(_value(key, [*texts, *_FILTERS]), _value(value, texts), max_size=3)
    one = _value(field, texts)
    return st.lists(one, max_size=3) if field.is_repeated else one


def _value(field: FieldDescriptor, texts: list[str]) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        return odd(field.message_type, texts=texts)
    if field.type in _INT:
        most = 2 ** _INT[field.type]
        return st.integers(0, 12) | st.integers(-most, most - 1)
    if field.type == FieldDescriptor.TYPE_ENUM:
        return st.integers(0, 4) | st.integers(-(2**31), 2**31 - 1)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return st.booleans()
    if field.type == FieldDescriptor.TYPE_DOUBLE:
        return st.floats() | st.integers(0, 100).map(float)
    return st.sampled_from(texts) | st.text(max_size=20)


@pytest.fixture
def texts(worker: Any, staff: Caller) -> list[str]:
    """Give texts that find something, too."""
    dead = factories.make_task(Status.DEAD, worker=worker, owner_id=staff.id)
    letter = factories.open_letter(dead)
    operation = operations.begin(
        Plan(verb=OperationVerb.REDRIVE, criteria={}), [letter.pk], by=Author("staff", Door.GRPC), starts=False
    )
    rows = [
        *(factories.submit(owner_id=staff.id), dead, letter, worker, operation),
        *(factories.make_batch(owner_id=staff.id), factories.make_schedule()),
    ]
    return [*_TEXTS, letter.fingerprint, *(str(row.pk) for row in rows)]


@pytest.mark.parametrize("path", METHODS)
def test_an_odd_message_is_refused_or_done(path: str, staff: Caller, texts: list[str]) -> None:
    method, name = METHODS[path], path.removeprefix(f"/{PACKAGE}.")

    @settings(
        max_examples=20,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(fields=odd(method.request.DESCRIPTOR, texts=texts), noise=st.binary(max_size=6))
    def check(fields: dict[str, Any], noise: bytes) -> None:
        raw = method.request(**fields).SerializeToString()
        for sent in (raw, raw + noise, raw[: len(raw) // 2]):
            found = answer(name, sent, staff)
            for watch in found.watches:
                # Nobody reads this answer.
                watch.stop()
            assert found.error is None or errors.status_code(found.error).name not in {"INTERNAL", "UNKNOWN"}, sent

    check()
    assert Task.objects.exists()
