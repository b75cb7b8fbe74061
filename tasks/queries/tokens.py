"""The API token of a request, with its user."""

from functools import cache
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connection

from tasks.models import ApiToken

#: In the order of the model, which is how ``from_db`` takes them.
_TOKEN_FIELDS = ["id", "user_id", "scopes", "actors", "queues", "last_used_at"]


@cache
def _by_digest(users: Any) -> tuple[str, list[str]]:
    """Build the statement for the site's user model, and name the user's attributes in the order of its columns.

    The ORM would build it anew for each request of the API, which takes it more than a quarter of a whole submission.
    """
    meta, quote = users._meta, connection.ops.quote_name
    columns = ", ".join(f"person.{quote(field.column)}" for field in meta.concrete_fields)
    statement = f"""
SELECT token.id, token.user_id, token.scopes, token.actors, token.queues, token.last_used_at, {columns}
FROM callboard_apitoken AS token JOIN {quote(meta.db_table)} AS person ON person.{quote(meta.pk.column)} = token.user_id
WHERE token.digest = %s AND token.revoked_at IS NULL
  AND (token.expires_at IS NULL OR token.expires_at > statement_timestamp())
"""
    return statement, [field.attname for field in meta.concrete_fields]


def token_for_secret(secret: str) -> ApiToken | None:
    """Find the token with this secret, with its user; None if there is none, or it is revoked or expired."""
    users: Any = ApiToken._meta.get_field("user").related_model
    statement, attributes = _by_digest(users)
    with connection.cursor() as cursor:
        cursor.execute(statement, [ApiToken.hash(secret)])
        row = cursor.fetchone()
    if row is None:
        return None
    token = ApiToken.from_db(DEFAULT_DB_ALIAS, _TOKEN_FIELDS, row[:6])
    token.user = users.from_db(DEFAULT_DB_ALIAS, attributes, row[6:])
    return token
