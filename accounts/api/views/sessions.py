from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.bearers import BearerViewSet
from accounts.api.permissions import HasLogin, HasScope
from accounts.api.serializers.sessions import EndedSessionsOutput, SessionOutput
from accounts.choices import Scope
from accounts.models import DeviceSession
from accounts.services.sessions import revoke_other_sessions, revoke_session
from common.api.views import ReadMixin


class SessionViewSet(ReadMixin, BearerViewSet):
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
    def revoke(self, request: Request, pk: UUID) -> Response:
        """End one session: what its device holds opens nothing any more."""
        revoke_session(user_id=self.user_id, session_id=pk)
        return Response(status=204)

    @extend_schema(request=None, responses=EndedSessionsOutput)
    def revoke_others(self, request: Request) -> Response:
        """End every session but the one that asks."""
        ended = revoke_other_sessions(user_id=self.user_id, kept=self.session_id)
        return Response({"ended": ended})
