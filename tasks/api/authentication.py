"""Authentication by bearer token, as REST framework calls it."""

from django.contrib.auth.models import AbstractBaseUser
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from tasks.contract.authentication import authenticated
from tasks.contract.client_address import address_of
from tasks.errors import NotAuthenticated
from tasks.models import ApiToken


class BearerTokenAuthentication(BaseAuthentication):
    """``Authorization: Bearer <token>``."""

    def authenticate(self, request: Request) -> tuple[AbstractBaseUser, ApiToken] | None:
        """Give the token's user and the token; None if the request has no such header.

        Raises:
            AuthenticationFailed: see ``authenticated``.
            TooManyRefused: see there too.
        """
        header = request.META.get("HTTP_AUTHORIZATION")
        if header is None:
            return None
        try:
            token = authenticated(header, address=address_of(request.META))
        except NotAuthenticated as error:
            # REST framework's own error, which brings the challenge of the answer.
            raise AuthenticationFailed(error.detail) from error
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        """Give the challenge of a 401."""
        return 'Bearer realm="callboard"'
