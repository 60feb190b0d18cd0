from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.serializers.account import AccountInput, AccountOutput
from accounts.choices import Scope
from accounts.models import User
from accounts.services.users import change_profile
from common.api.views import TenantViewSet


class AccountViewSet(TenantViewSet):
    """The account that the credential belongs to."""

    read_scope = Scope.ACCOUNT_READ
    write_scope = Scope.ACCOUNT_WRITE
    serializer_class = AccountOutput

    @extend_schema(operation_id="account_retrieve")
    def retrieve(self, request: Request) -> Response:
        return self._answer(request.user)  # type: ignore[arg-type]  # a User, as HasScope saw

    @extend_schema(operation_id="account_change", request=AccountInput)
    def partial_update(self, request: Request) -> Response:
        """Correct names; addresses are changed at /api/v1/auth/, where they are confirmed."""
        given = AccountInput(data=request.data)
        given.is_valid(raise_exception=True)
        return self._answer(change_profile(user_id=self.user_id, changes=given.validated_data))

    def _answer(self, user: User) -> Response:
        # Identities are read without an actor: the credential and the addresses, and no more.
        return Response(self.get_serializer(user).data)
