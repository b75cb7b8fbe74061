"""Access: what a caller may see and do, without any door."""

import pytest
from django.contrib.auth.models import AnonymousUser, User

from tasks.contract.access import Caller, find, visible
from tasks.errors import InvalidQuery, NotAllowed, NotFound
from tasks.models import ApiToken, Task
from tasks.states import Scope
from tests.factories import submit

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice() -> User:
    return User.objects.create_user("alice")


def _token(**limits: list[str]) -> ApiToken:
    return ApiToken(**{"scopes": [Scope.READ], "actors": [], "queues": []} | limits)


def test_a_caller_without_a_token_has_every_scope(alice: User) -> None:
    for scope in Scope:
        Caller(alice).require(scope)


def test_a_token_has_only_its_scopes(alice: User) -> None:
    caller = Caller(alice, _token())
    caller.require(Scope.READ)
    with pytest.raises(NotAllowed, match="submit"):
        caller.require(Scope.SUBMIT)


def test_a_token_is_limited_to_its_actors_and_queues(alice: User) -> None:
    caller = Caller(alice, _token(actors=["note"], queues=["other"]))
    caller.check(actor="note", queue="other")
    for wrong in ({"actor": "act"}, {"queue": "default"}):
        with pytest.raises(NotAllowed) as caught:
            caller.check(**wrong)
        assert [error.field for error in caught.value.errors] == list(wrong)


def test_users_see_their_own_tasks_staff_sees_all_and_nobody_sees_none(alice: User) -> None:
    root = User.objects.create_user("root", is_staff=True)
    mine, unowned = submit(owner_id=alice.pk), submit()
    for user, seen in ((alice, {mine.pk}), (root, {mine.pk, unowned.pk}), (AnonymousUser(), set())):
        assert {task.pk for task in visible(Task.objects.all(), Caller(user))} == seen


def test_a_token_narrows_what_its_user_sees(alice: User) -> None:
    submit(owner_id=alice.pk)
    assert visible(Task.objects.all(), Caller(alice, _token(queues=["default"]))).exists()
    assert not visible(Task.objects.all(), Caller(alice, _token(queues=["other"]))).exists()
    assert not visible(Task.objects.all(), Caller(alice, _token(actors=["other"]))).exists()


def test_a_row_is_found_by_its_id(alice: User) -> None:
    mine, foreign = submit(owner_id=alice.pk), submit()
    rows = visible(Task.objects.all(), Caller(alice))
    assert find(rows, str(mine.pk), kind="task") == mine
    with pytest.raises(NotFound, match=f"there is no task {foreign.pk}"):
        find(rows, str(foreign.pk), kind="task")
    with pytest.raises(InvalidQuery):
        find(rows, "7", kind="task")
