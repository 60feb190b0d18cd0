from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from accounts.events import note_refused_token
from accounts.models import User
from accounts.tokens import Bearer, bearer_of_header
from common import context


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer …` with a personal access token, or a login's access token."""

    def authenticate(self, request: Request) -> tuple[User, Bearer] | None:
        header = request.headers.get("Authorization", "")
        if not header:
            return None
        bearer = bearer_of_header(header)
        if bearer is None:
            note_refused_token(header)
            raise AuthenticationFailed("The token is unknown, expired or revoked.")
        context.person_id.set(bearer.user.pk)
        return bearer.user, bearer

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="commonplace"'
