from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.permissions import HasLogin, HasScope
from accounts.api.serializers.sessions import SessionOutput, SessionsEnded
from accounts.choices import Scope, SessionEnd
from accounts.models import DeviceSession
from accounts.services.sessions import end_sessions
from common.api.views import ReadMixin, TenantViewSet
from common.tenancy import acting_as


class SessionViewSet(ReadMixin, TenantViewSet):
    """Where the account is or was logged in, the latest first."""

    read_scope = Scope.ACCOUNT_READ
    write_scope = Scope.ACCOUNT_WRITE
    serializer_class = SessionOutput
    queryset = DeviceSession.objects.none()

    def get_permissions(self) -> list[BasePermission]:
        # A leaked token must not end the sessions of whoever could revoke it.
        ending = self.action in {"revoke", "revoke_others"}
        return [HasScope(), HasLogin()] if ending else [HasScope()]

    def get_queryset(self) -> QuerySet[DeviceSession]:
        return DeviceSession.objects.visible_to(self.user_id)

    @extend_schema(request=None, responses={204: None})
    @action(detail=True, methods=["post"])
    def revoke(self, request: Request, pk: str) -> Response:
        """End one session: what its device holds opens nothing any more."""
        session = self.get_object()
        with acting_as(self.user_id):
            end_sessions(user_id=self.user_id, session_ids=[session.pk], because=SessionEnd.REVOKED)
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=None, responses=SessionsEnded)
    @action(detail=False, methods=["post"], url_path="revoke-others")
    def revoke_others(self, request: Request) -> Response:
        """End every session but the one that asks."""
        with acting_as(self.user_id):
            ended = end_sessions(
                user_id=self.user_id,
                because=SessionEnd.REVOKED,
                kept=request.auth.token_id,  # type: ignore[union-attr]  # a Bearer, as HasLogin saw
            )
        return Response(SessionsEnded({"ended": ended}).data)
