"""Addresses of the admin's pages, and browsers that open them."""

from typing import Any

from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from dlq.models import DeadLetter
from tasks.models import ApiToken, Batch, Journal, Queue, Schedule, Task, Worker

MODELS = [Task, Batch, Schedule, Worker, Queue, ApiToken, DeadLetter, Journal]


def browser_of(user: User) -> Client:
    """Log this user in."""
    browser = Client()
    browser.force_login(user)
    return browser


def list_of(model: Any) -> str:
    """Return the address of a model's list."""
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def page_of(row: Any) -> str:
    """Return the address of a row's page."""
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def verb_of(row: Any, verb: str) -> str:
    """Return the address that a row's button posts to."""
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_do", args=[row.pk, verb])


def html(response: Any) -> str:
    """Check that the response is a page, and return it."""
    assert response.status_code == 200
    text: str = response.content.decode()
    return text


def messages_of(response: Any) -> list[str]:
    """Return the messages on a page."""
    return [str(message) for message in response.context["messages"]]
