"""The roles that SECURITY.md describes are those of the code and the migrations."""

from pathlib import Path

import pytest
from django.contrib.auth.models import Group

from tasks.contract import access
from tasks.contract.access import Action

PAGE = Path(__file__).parents[2] / "SECURITY.md"


@pytest.mark.django_db
def test_the_table_of_roles_is_that_of_the_code() -> None:
    lines = PAGE.read_text().partition("### Roles")[2].partition("\n\n- ")[0].splitlines()
    written = [line for line in lines if line.startswith("| ") and "you may not" not in line]
    assert written == [_line(one) for one in vars(access).values() if isinstance(one, Action)]


def _line(action: Action) -> str:
    without = "owners" if action.is_for_owners else "plain users" if action.is_for_plain_users else "nobody"
    if not action.permissions:
        without = "all users"
    cells = [
        action.words,
        ", ".join(f"`{one}`" for one in action.permissions) or "none",
        str(action.scope or "no token"),
        *(_has(group, action) for group in ("viewer", "operator", "admin")),
        without,
    ]
    return f"| {' | '.join(cells)} |"


def _has(name: str, action: Action) -> str:
    pairs = Group.objects.get(name=name).permissions.values_list("content_type__app_label", "codename")
    return "yes" if set(action.permissions) <= {f"{app}.{codename}" for app, codename in pairs} else "no"
