"""The command line masks secrets, unless it is told to show them."""

import pytest

from tests import factories, secretive
from tests.commands.cli import callboard, refused
from tests.secretive import SECRET

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_secrets_are_masked_and_shown_when_asked_for(worker, form):
    task = secretive.make(worker)
    letter = factories.open_letter(task)
    for words in (["tasks", "list"], ["tasks", "show", str(task.pk)], ["dlq", "list"], ["dlq", "show", str(letter.pk)]):
        assert SECRET not in callboard(*words, *form), words
    for words in (["tasks", "show", str(task.pk)], ["dlq", "show", str(letter.pk)]):
        assert SECRET in callboard(*words, "--show-secrets", *form), words
    assert SECRET in callboard("tasks", "list", "--show-secrets", "--json")
    assert SECRET in callboard("dlq", "list", "--show-secrets", "--json")


def test_a_submission_is_answered_without_secrets():
    words = ["submit", "login", "--payload", "user=ada", f"password={SECRET}", "--json"]
    assert SECRET not in callboard(*words)
    assert SECRET in callboard(*words, "--show-secrets")


def test_the_error_of_an_awaited_task_has_no_secrets(monkeypatch, worker):
    task = secretive.make(worker)
    monkeypatch.setattr("tasks.management.callboard.submit.lifecycle.submit", lambda submission: task)
    said = "".join(refused("submit", "login", "--payload", "user=ada", "password=x", "--wait"))
    assert "cannot log in" in said
    assert SECRET not in said
