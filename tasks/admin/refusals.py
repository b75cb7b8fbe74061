"""Refusals of the contract and of verbs: in a message, and as the errors of a form."""

from collections.abc import Mapping

from django import forms

from tasks.errors import CallboardError, describe


def faults_of(refusal: CallboardError) -> str:
    """Say in one line what is wrong."""
    return describe(refusal.errors) or refusal.detail


def add_refusal(form: forms.BaseForm, refusal: CallboardError, *, parts_of: Mapping[str, str] | None = None) -> None:
    """Put the errors of a refusal beside the fields that they are about, the others above the form.

    Parameters:
        parts_of: for fields that the form has none for, the field of the form that they are given in.
    """
    for one in refusal.errors:
        parts = one.field.split(".")
        names = (".".join(parts[:2]), parts[0], (parts_of or {}).get(parts[0], ""))
        name = next((name for name in names if name in form.fields), None)
        form.add_error(name, one.message if one.field == name else f"{one.field}: {one.message}")
    if not refusal.errors:
        form.add_error(None, refusal.detail)
