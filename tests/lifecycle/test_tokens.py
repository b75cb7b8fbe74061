"""issue, edit, revoke: what is done to API tokens; ``test_journal`` looks at what they record."""

import pytest
from django.contrib.auth.models import User

from tasks.lifecycle import tokens
from tasks.models import ApiToken
from tasks.queries.tokens import token_for_secret

pytestmark = pytest.mark.django_db


def test_a_token_is_revoked_once() -> None:
    token, secret = tokens.issue(user=User.objects.create_user("tom"), name="laptop")
    assert token_for_secret(secret) is not None
    assert tokens.revoke_many([token.pk, 0]) == 1
    assert token_for_secret(secret) is None
    revoked_at = ApiToken.objects.get().revoked_at
    assert tokens.revoke_many([token.pk]) == 0
    assert ApiToken.objects.get().revoked_at == revoked_at


def test_only_the_changed_fields_are_stored() -> None:
    token, _ = tokens.issue(user=User.objects.create_user("tom"), name="laptop")
    token.name, token.scopes = "phone", ["read"]
    tokens.edit(token, ["name"])
    token.refresh_from_db()
    assert (token.name, token.scopes) == ("phone", ["read", "submit", "operate"])
