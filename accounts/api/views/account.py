from drf_spectacular.utils import extend_schema
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.bearers import BearerViewSet
from accounts.api.permissions import HasLogin, HasScope
from accounts.api.serializers.account import AccountInput, AccountOutput
from accounts.choices import Scope
from accounts.models import User
from accounts.services.users import change_profile
from common.api.views import given


class AccountViewSet(BearerViewSet):
    """The account that the credential belongs to."""

    read_scope = Scope.ACCOUNT_READ
    write_scope = Scope.ACCOUNT_WRITE
    serializer_class = AccountOutput

    def get_permissions(self) -> list[BasePermission]:
        """The username is a name to log in with."""
        writes = self.action == "partial_update"
        return [HasScope(), HasLogin()] if writes else [HasScope()]

    @extend_schema(operation_id="account_retrieve")
    def retrieve(self, request: Request) -> Response:
        return self._answer(self.bearer.user)

    @extend_schema(operation_id="account_change", request=AccountInput)
    def partial_update(self, request: Request) -> Response:
        """Correct names; addresses are changed at /api/v1/auth/, where they are confirmed."""
        changes = given(AccountInput, request.data)
        return self._answer(change_profile(user_id=self.user_id, changes=changes))

    def _answer(self, user: User) -> Response:
        # Identities are read without an actor: the credential and the addresses, and no more.
        return Response(self.get_serializer(user).data)
