from drf_spectacular.utils import extend_schema
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.permissions import HasFreshLogin, HasScope
from accounts.api.serializers.erasures import (
    ErasureInput,
    ErasureOutput,
    ErasureTokenInput,
    ReceiptOutput,
    RequestedErasureOutput,
)
from accounts.choices import Scope
from accounts.services.erasures import cancel_erasure, last_erasure, receipt_of, request_erasure
from common.api.views import OpenView, TenantViewSet, given
from common.errors import NotFoundError


class ErasureViewSet(TenantViewSet):
    """The erasure of the account and of everything that belongs to it."""

    read_scope = Scope.ACCOUNT_READ
    write_scope = Scope.ACCOUNT_WRITE
    serializer_class = ErasureOutput

    def get_permissions(self) -> list[BasePermission]:
        return [HasScope(), HasFreshLogin()] if self.action == "create" else [HasScope()]

    @extend_schema(operation_id="account_erasure_retrieve")
    def retrieve(self, request: Request) -> Response:
        """The latest one that was asked for, whatever became of it."""
        found = last_erasure(user_id=self.user_id)
        if found is None:
            raise NotFoundError("No erasure was ever asked for.")
        return Response(self.get_serializer(found).data)

    @extend_schema(
        operation_id="account_erasure_create",
        request=ErasureInput,
        responses={202: RequestedErasureOutput},
    )
    def create(self, request: Request) -> Response:
        """Closes the account at once, and erases everything when the grace is over.

        The answer's token cancels it until then: nobody can log in to do so.
        """
        values = given(ErasureInput, request.data)
        erasure, token = request_erasure(user_id=self.user_id, **values)
        return Response(ErasureOutput(erasure).data | {"token": token}, 202)


class TokenView(OpenView):
    """For whoever has the token that an erasure was answered with: nobody can log in."""

    def token_of(self, request: Request) -> str:
        return str(given(ErasureTokenInput, request.data)["token"])


class CancellationView(TokenView):
    @extend_schema(
        operation_id="account_erasure_cancel",
        request=ErasureTokenInput,
        responses={204: None},
        auth=[],
    )
    def post(self, request: Request) -> Response:
        """Cancels an erasure within its grace; afterwards its owner can log in again."""
        cancel_erasure(token=self.token_of(request))
        return Response(status=204)


class ReceiptView(TokenView):
    @extend_schema(
        operation_id="account_erasure_receipt",
        request=ErasureTokenInput,
        responses=ReceiptOutput,
        auth=[],
    )
    def post(self, request: Request) -> Response:
        """The receipt of an erasure, for 90 days after it was done."""
        receipt = receipt_of(token=self.token_of(request))
        return Response(receipt, headers={"Cache-Control": "no-store"})
