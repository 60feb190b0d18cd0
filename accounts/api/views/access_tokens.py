from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.bearers import BearerViewSet
from accounts.api.permissions import HasFreshLogin, HasScope
from accounts.api.serializers.access_tokens import (
    AccessTokenInput,
    AccessTokenOutput,
    CreatedAccessTokenOutput,
    RevokedTokensOutput,
)
from accounts.choices import Scope
from accounts.models import PersonalAccessToken
from accounts.services.access_tokens import create_token, revoke_every_token, revoke_token
from common.api.views import ReadMixin, given


class AccessTokenViewSet(ReadMixin, BearerViewSet):
    """Personal access tokens: credentials for programs."""

    read_scope = Scope.ACCOUNT_READ
    write_scope = Scope.ACCOUNT_WRITE
    serializer_class = AccessTokenOutput
    queryset = PersonalAccessToken.objects.none()

    def get_permissions(self) -> list[BasePermission]:
        """Only a person makes tokens, with a fresh proof: what leaked must not multiply."""
        return [HasScope(), HasFreshLogin()] if self.action == "create" else [HasScope()]

    def get_queryset(self) -> QuerySet[PersonalAccessToken]:
        return PersonalAccessToken.objects.visible_to(self.user_id)

    @extend_schema(request=AccessTokenInput, responses={201: CreatedAccessTokenOutput})
    def create(self, request: Request) -> Response:
        """Make a token. Needs a fresh login; `secret` is in this answer and nowhere again.

        There is no Idempotency-Key here: an answer that could be repeated would be an answer
        that is kept. A token whose secret was lost on the way is revoked, and another one made.
        """
        values = given(AccessTokenInput, request.data)
        token, secret = create_token(
            user=self.bearer.user,
            name=values["name"],
            scopes=[Scope(scope) for scope in values["scopes"]],
            expires_at=values["expires_at"],
        )
        return Response({**AccessTokenOutput(token).data, "secret": secret}, 201)

    @extend_schema(request=None, responses=AccessTokenOutput)
    def revoke(self, request: Request, pk: UUID) -> Response:
        """End one token, for good. To end it again changes nothing."""
        token = revoke_token(user_id=self.user_id, token_id=pk)
        return Response(self.get_serializer(token).data)

    @extend_schema(request=None, responses=RevokedTokensOutput)
    def revoke_all(self, request: Request) -> Response:
        """End every token, also the one that asks."""
        revoked = revoke_every_token(user_id=self.user_id)
        return Response({"revoked": revoked})
