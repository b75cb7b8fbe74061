"""Access: what a caller may see and do, without any door."""

import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import AnonymousUser, Permission, User

from tasks.contract import access
from tasks.contract.access import (
    ADD_TOKEN,
    CANCEL_TASK,
    PAUSE_QUEUE,
    SUBMIT_TASK,
    VIEW_TASK,
    Action,
    Caller,
    find,
    find_owned,
    visible,
)
from tasks.contract.submissions import permitted_change
from tasks.errors import NotAllowed, NotFound
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
    for action in (VIEW_TASK, SUBMIT_TASK, CANCEL_TASK):
        Caller(alice).require_scope(action)


def test_a_token_has_only_its_scopes(alice: User) -> None:
    caller = Caller(alice, _token())
    caller.require_scope(VIEW_TASK)
    with pytest.raises(NotAllowed, match="submit"):
        caller.require(SUBMIT_TASK)


def test_a_token_is_limited_to_its_actors_and_queues(alice: User) -> None:
    caller = Caller(alice, _token(actors=["note"], queues=["other"]))
    caller.require_reach(actor="note", queue="other")
    for wrong in ({"actor": "act"}, {"queue": "default"}):
        with pytest.raises(NotAllowed) as caught:
            caller.require_reach(**wrong)
        assert [error.field for error in caught.value.errors] == list(wrong)


def test_users_see_their_own_tasks_the_permitted_see_all_and_nobody_sees_none(alice: User) -> None:
    root, new = User.objects.create_superuser("root"), User.objects.create_user("new", is_staff=True)
    mine, unowned = submit(owner_id=alice.pk), submit()
    for user, seen in ((alice, {mine.pk}), (root, {mine.pk, unowned.pk}), (new, set()), (AnonymousUser(), set())):
        assert {task.pk for task in visible(Task.objects.all(), Caller(user), VIEW_TASK)} == seen


def test_plain_users_may_submit_and_staff_needs_the_permission(alice: User) -> None:
    new = User.objects.create_user("new", is_staff=True)
    assert Caller(alice).may(SUBMIT_TASK)
    assert not Caller(new).may(SUBMIT_TASK)
    assert not Caller(AnonymousUser()).may(SUBMIT_TASK)
    new.user_permissions.add(Permission.objects.get(codename="add_task", content_type__app_label="callboard"))
    assert Caller(User.objects.get(pk=new.pk)).may(SUBMIT_TASK)


def test_limits_are_for_all_but_staff_who_may_submit(alice: User) -> None:
    root, new = User.objects.create_superuser("root"), User.objects.create_user("new", is_staff=True)
    assert [Caller(user).is_limited for user in (alice, new, root)] == [True, True, False]


def test_a_permission_counts_whoever_has_it(alice: User) -> None:
    assert not Caller(alice).may(PAUSE_QUEUE)
    alice.user_permissions.add(Permission.objects.get(codename="pause_queue"))
    again = User.objects.get(pk=alice.pk)
    assert Caller(again).may(PAUSE_QUEUE)
    assert not Caller(again, _token()).may(PAUSE_QUEUE)


def test_blocked_users_may_nothing_not_even_with_their_own() -> None:
    root, plain = User.objects.create_superuser("root", is_active=False), User.objects.create_user("p", is_active=False)
    for user in (root, plain, AnonymousUser()):
        submit(owner_id=user.pk)
        for action in (VIEW_TASK, SUBMIT_TASK, CANCEL_TASK, PAUSE_QUEUE):
            assert not Caller(user).may(action, owner_id=user.pk)
        assert not visible(Task.objects.all(), Caller(user), VIEW_TASK).exists()


def test_permissions_exist_and_only_the_table_names_them() -> None:
    known = {f"{app}.{name}" for app, name in Permission.objects.values_list("content_type__app_label", "codename")}
    actions = [one for one in vars(access).values() if isinstance(one, Action)]
    assert {permission for action in actions for permission in action.permissions} <= known
    root = Path(access.__file__).parents[2]
    for path in (*root.glob("tasks/**/*.py"), *root.glob("dlq/**/*.py")):
        if path != Path(access.__file__) and "migrations" not in path.parts:
            named = set(re.findall(r'"([a-z]+\.[a-z]+_[a-z]+)"', path.read_text())) & known
            assert not named, f"{path.relative_to(root)} spells {named}; tasks/contract/access.py has an action for it"


def test_what_has_no_scope_is_done_with_no_token() -> None:
    root = User.objects.create_superuser("root")
    assert Caller(root).may(ADD_TOKEN)
    assert not Caller(root, _token(scopes=[*Scope])).may(ADD_TOKEN)


@pytest.mark.parametrize(("payload", "is_same"), [({"n": 1, "m": 2}, True), ({"m": 2, "n": True}, False), ({}, False)])
def test_who_may_not_change_a_payload_can_send_it_back(alice: User, payload: dict[str, Any], is_same: bool) -> None:
    seen = {"m": 2, "n": 1}
    task = Task(payload=seen, owner_id=None)
    change, caller = {"payload": payload, "priority": 9}, Caller(alice)
    if is_same:
        assert permitted_change(change, task=task, caller=caller, seen=seen) == {"priority": 9}
    else:
        with pytest.raises(NotAllowed, match=r"change the payload of this task: .* callboard\.add_task"):
            permitted_change(change, task=task, caller=caller, seen=seen)
    task.owner_id = alice.pk
    assert permitted_change(change, task=task, caller=caller, seen=seen) == change


def test_a_token_narrows_what_its_user_sees(alice: User) -> None:
    submit(owner_id=alice.pk)
    assert visible(Task.objects.all(), Caller(alice, _token(queues=["default"])), VIEW_TASK).exists()
    assert not visible(Task.objects.all(), Caller(alice, _token(queues=["other"])), VIEW_TASK).exists()
    assert not visible(Task.objects.all(), Caller(alice, _token(actors=["other"])), VIEW_TASK).exists()


def test_a_row_is_found_by_its_id(alice: User) -> None:
    mine, foreign = submit(owner_id=alice.pk), submit()
    assert find(Task.objects.all(), str(mine.pk), kind="task") == mine
    assert _found(alice, mine.pk) == mine
    with pytest.raises(NotFound, match=f"there is no task {foreign.pk}"):
        _found(alice, foreign.pk)
    with pytest.raises(NotFound, match="expected a UUID"):
        _found(alice, "7")


def test_who_may_see_a_row_is_told_that_more_is_not_permitted(alice: User) -> None:
    foreign = submit()
    alice.user_permissions.add(Permission.objects.get(codename="view_task", content_type__app_label="callboard"))
    with pytest.raises(
        NotAllowed, match=r"you may not cancel this task: this needs the permission callboard\.cancel_task"
    ):
        _found(User.objects.get(pk=alice.pk), foreign.pk)


def test_a_missing_row_is_looked_for_as_long_as_a_foreign_one(alice: User, django_assert_num_queries: Any) -> None:
    for pk in (submit().pk, uuid4()):
        # Django remembers the permissions of a user that it has asked for.
        user = User.objects.get(pk=alice.pk)
        with django_assert_num_queries(3), pytest.raises(NotFound):
            _found(user, pk)


def _found(user: User, pk: object) -> Task:
    return find_owned(Task.objects.all(), str(pk), Caller(user), CANCEL_TASK, view=VIEW_TASK, kind="task")
