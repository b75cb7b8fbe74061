"""issue, edit, revoke: what is done to API tokens."""

from collections.abc import Collection, Sequence
from typing import Any

from django.db import transaction
from django.views.decorators.debug import sensitive_variables

from tasks.db.statements import fetch
from tasks.lifecycle.journal import UNKNOWN, Author, entries, record
from tasks.models import ApiToken
from tasks.states import ObjectKind


@sensitive_variables("secret")
@transaction.atomic
def issue(*, by: Author = UNKNOWN, **fields: Any) -> tuple[ApiToken, str]:
    """Make a token and return it with its secret, as ``ApiToken.issue``."""
    token, secret = ApiToken.issue(**fields)
    detail = {"user": token.user.get_username(), "scopes": list(token.scopes)}
    record(by, "issue", ObjectKind.TOKEN, str(token.pk), name=token.name, detail=detail)
    return token, secret


@transaction.atomic
def edit(token: ApiToken, changed: Collection[str], *, by: Author = UNKNOWN) -> None:
    """Store the changed fields of a token; without any, nothing is done.

    Parameters:
        changed: the names of the fields.
    """
    if not changed:
        return
    token.save(update_fields=changed)
    record(by, "edit", ObjectKind.TOKEN, str(token.pk), name=token.name, detail={"fields": sorted(changed)})


_REVOKE = f"""
WITH revoked AS (
    UPDATE callboard_apitoken SET revoked_at = statement_timestamp()
    WHERE id = ANY(%(ids)s::bigint[]) AND revoked_at IS NULL
    RETURNING id, name
)
{entries("revoked", verb="'revoke'", kind="'token'", id="id::text", name="name")}
RETURNING id
"""


def revoke_many(token_ids: Sequence[int], *, by: Author = UNKNOWN) -> int:
    """Refuse tokens from now on; return how many were not revoked before."""
    return len(fetch(_REVOKE, {"ids": list(token_ids), **by.parameters}))
