from allauth.core.internal.ratelimit import get_rates
from allauth.core.ratelimit import consume
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.serializers.nonces import NonceOutput
from accounts.identity.social import NONCE_SECONDS, issue_nonce
from common.api.views import OpenView
from common.errors import TooManyError


class NonceView(OpenView):
    """A nonce for one ID token: a token without one opens nothing here."""

    @extend_schema(request=None, responses=NonceOutput, operation_id="auth_nonce_create", auth=[])
    def post(self, request: Request) -> Response:
        refuse_too_many(request)
        return Response({"nonce": issue_nonce(), "expires_in": NONCE_SECONDS})


def refuse_too_many(request: Request) -> None:
    """Raises TooManyError once the client's network has had its share: each nonce takes memory."""
    if consume(request, action="nonce"):
        return
    rates = get_rates(app="allauth.account", action="nonce")
    raise TooManyError(
        "There were too many requests for a nonce.",
        retry_after=max(int(rate.duration) for rate in rates),
    )
