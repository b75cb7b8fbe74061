"""The page that compares two payloads, and how it compares."""

import pytest
from django.contrib.auth.models import Permission, User

from dlq.models import DeadLetter, Failure
from tasks import lifecycle
from tasks.admin.differences import MOST_LEAVES, compare
from tasks.models import Task, new_id
from tasks.states import DeathReason
from tests import factories
from tests.admin.pages import browser_of, html, page_of
from tests.callers import let_see_payloads

pytestmark = pytest.mark.django_db

SECRET = "hunter2-swordfish"


def kinds(first, second):
    return {one.path: one.kind for one in compare(first, second).rows}


def test_leaves_are_compared_by_path_and_type():
    first = {"user": {"id": 1, "tags": ["a", "b"]}, "amount": 3, "rate": 1, "empty": {}, "only": None}
    second = {"user": {"id": 1, "tags": ["a"]}, "amount": "3", "rate": 1.0, "empty": [], "secret": "********"}
    assert kinds(first, second) == {
        "user.id": "same",
        "user.tags.0": "same",
        "user.tags.1": "missing",
        "amount": "changed",
        "rate": "changed",
        "empty": "changed",
        "only": "missing",
        "secret": "missing",
    }
    assert kinds({"password": "********"}, {"password": "********"}) == {"password": "masked"}


@pytest.mark.parametrize(("first", "second"), [({"a": {"b": 1}}, {"a.b": 1}), ({"a": [1]}, {"a": {"0": 1}})])
def test_values_of_other_shapes_differ_though_their_dotted_paths_are_the_same(first, second):
    assert [one.kind for one in compare(first, second).rows] == ["missing", "missing"]


def test_a_comparison_is_bounded():
    big = {str(number): number for number in range(MOST_LEAVES + 1)}
    found = compare(big, {})
    assert (len(found.rows), found.is_cut) == (MOST_LEAVES, True)
    assert not compare({"a": 1}, {}).is_cut


@pytest.fixture
def failure(worker):
    def die(**task):
        submitted = factories.submit(max_retries=0, **task)
        ends = {"death": DeathReason.NOT_RETRYABLE, "error_message": "as asked"}
        lifecycle.complete_many([factories.failure(factories.start(submitted, worker), worker, **ends)])

    die(payload={"do": "fail", "value": {"currency": "EUR", "cents": 1}})
    die(payload={"do": "fail", "value": {"currency": "USD", "cents": 1}})
    die(payload={"do": "fail", "value": {"currency": "GBP", "cents": 1}})
    lifecycle.fold_failures(**factories.make_lead())
    return Failure.objects.get()


def address(failure):
    return f"{page_of(failure).removesuffix('change/')}compare/"


@pytest.fixture
def olga(operator):
    let_see_payloads(User.objects.get(username="olga"))
    return operator


def test_the_newest_and_the_oldest_are_compared(olga, failure):
    assert address(failure) in html(olga.get(page_of(failure)))
    page = html(olga.get(address(failure)))
    assert "value.currency" in page
    assert "<code>&quot;GBP&quot;</code>" in page
    assert "<code>&quot;EUR&quot;</code>" in page
    assert "<code>&quot;USD&quot;</code>" not in page


def test_the_newest_of_another_queue_is_rather_taken(olga, failure):
    middle = DeadLetter.objects.newest_first()[1]
    DeadLetter.objects.filter(pk=middle.pk).update(queue="other")
    page = html(olga.get(address(failure)))
    assert "<code>&quot;USD&quot;</code>" in page
    assert "<code>&quot;EUR&quot;</code>" not in page


def test_any_two_of_the_failure_are_compared_and_no_others(olga, failure):
    newest, middle, oldest = DeadLetter.objects.newest_first()
    lifecycle.discard(oldest.pk)
    page = html(olga.get(address(failure), {"a": middle.pk, "b": oldest.pk}))
    assert "<code>&quot;USD&quot;</code>" in page
    assert "<code>&quot;EUR&quot;</code>" in page
    for wrong in ("x", str(new_id()), "\0", "1" * 10_000):
        assert olga.get(address(failure), {"a": wrong, "b": newest.pk}).status_code == 404
    DeadLetter.objects.filter(pk=oldest.pk).update(fingerprint="f" * 32)
    assert olga.get(address(failure), {"a": oldest.pk}).status_code == 404


def test_secrets_are_masked_and_not_compared(olga, failure):
    newest, _, oldest = DeadLetter.objects.newest_first()
    Task.objects.filter(pk=newest.task_id).update(actor="login", payload={"user": "ada", "password": SECRET})
    Task.objects.filter(pk=oldest.task_id).update(actor="login", payload={"user": "bob", "password": f"{SECRET}!"})
    page = html(olga.get(address(failure)))
    assert SECRET not in page
    assert "A secret in both" in page


def test_hostile_payloads_stay_text_and_a_removed_task_is_said(olga, failure):
    newest = DeadLetter.objects.newest_first()[0]
    hostile = {"</td><script>alert(1)</script>": "\u202e</code><script>alert(1)</script>"}
    Task.objects.filter(pk=newest.task_id).update(payload=hostile)
    page = html(olga.get(address(failure)))
    assert "<script>alert" not in page
    assert "\u202e" not in page
    Task.objects.filter(pk=newest.task_id).delete()
    assert "was removed, and its payload with it" in html(olga.get(address(failure)))


def test_payloads_need_their_permission(viewer, failure):
    assert viewer.get(address(failure)).status_code == 403
    assert address(failure) not in html(viewer.get(page_of(failure)))


def test_who_sees_only_their_own_payloads_compares_those(failure):
    owner = User.objects.create_user("owen", is_staff=True)
    names = ("view_failure", "view_deadletter", "view_task")
    owner.user_permissions.set(Permission.objects.filter(codename__in=names))
    newest, middle, oldest = DeadLetter.objects.newest_first()
    DeadLetter.objects.filter(pk__in=[newest.pk, middle.pk]).update(owner_id=owner.pk)
    page = html(browser_of(owner).get(address(failure)))
    assert "<code>&quot;GBP&quot;</code>" in page
    assert "<code>&quot;USD&quot;</code>" in page
    assert str(oldest.pk) not in page
    assert browser_of(owner).get(address(failure), {"b": str(oldest.pk)}).status_code == 403


def test_fewer_than_two_dead_letters_are_not_compared(olga, failure):
    newest = DeadLetter.objects.newest_first()[0]
    DeadLetter.objects.exclude(pk=newest.pk).delete()
    assert "Fewer than two dead letters" in html(olga.get(address(failure)))
    newest.delete()
    assert "Fewer than two dead letters" in html(olga.get(address(failure)))
