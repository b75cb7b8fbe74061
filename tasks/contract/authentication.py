"""Authentication by bearer token (RFC 6750), for every door; the database holds hashes of tokens.

A secret is looked up by its SHA-256 digest, so the time of the look-up reveals nothing about secrets.
"""

from datetime import timedelta

from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from tasks.contract.refusal_limit import address_key, refusals
from tasks.errors import NotAuthenticated
from tasks.models import ApiToken
from tasks.queries.tokens import token_for_secret

#: ``last_used_at`` is written at most this often, so that a busy token does not cost a write per request.
USED_AGAIN_AFTER = timedelta(minutes=1)

_LONGEST_SECRET = 200


def authenticated(credentials: str, *, address: str) -> ApiToken:
    """Find the token that a request was sent with, and note its use.

    Parameters:
        credentials: what came as ``Authorization``.
        address: of the client, as its limits go by it.

    Raises:
        NotAuthenticated: they are malformed, or the token is not valid, or its user is blocked.
        TooManyRefused: the token is not known to be valid, and too many tokens from this address were not.
    """
    scheme, _, secret = credentials.partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not secret or " " in secret or len(secret) > _LONGEST_SECRET:
        raise NotAuthenticated('expected the header "Authorization: Bearer <token>"')
    token = _find(secret, address)
    if token is None or not token.user.is_active:
        raise NotAuthenticated("this token is unknown, expired or revoked")
    _note_use(token)
    return token


#: Digests of tokens that were valid when they were last seen in this process. Guesses from the same address do not lock
#: them out. They are still looked up.
_seen: set[str] = set()
_MOST_SEEN = 10_000


def _find(secret: str, address: str) -> ApiToken | None:
    digest = ApiToken.hash(secret)
    if digest not in _seen:
        # Before the database is asked; the answer to a wrong token is counted with all refusals.
        refusals.check(address_key(address))
    token = token_for_secret(secret)
    if token is None:
        _seen.discard(digest)
    elif len(_seen) < _MOST_SEEN:
        _seen.add(digest)
    return token


def _note_use(token: ApiToken) -> None:
    if token.last_used_at is not None and token.last_used_at > timezone.now() - USED_AGAIN_AFTER:
        return
    # The statement repeats the condition: another request with this token may have written it just now.
    stale = Q(last_used_at=None) | Q(last_used_at__lte=Now() - USED_AGAIN_AFTER)
    ApiToken.objects.filter(stale, pk=token.pk).update(last_used_at=Now())
