from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.permissions import HasLogin, HasScope
from accounts.api.serializers.consents import (
    AcceptConsentsInput,
    ConsentOutput,
    ConsentStateOutput,
    DocumentOutput,
    WithdrawConsentInput,
)
from accounts.choices import ConsentMethod, ConsentSource, ConsentType, Scope
from accounts.consents.documents import current_documents
from accounts.models import Consent
from accounts.selectors.consents import ConsentState, consent_states
from accounts.services.consents import accept_consents, withdraw_consent
from common.api.views import OpenView, ReadMixin, TenantViewSet, given
from common.tenancy import acting_as


class ConsentViewSet(TenantViewSet):
    """What the person agreed to."""

    read_scope = Scope.ACCOUNT_READ
    write_scope = Scope.ACCOUNT_WRITE
    serializer_class = ConsentStateOutput
    pagination_class = None
    filter_backends = []

    def get_permissions(self) -> list[BasePermission]:
        """No program agrees to anything for its person."""
        writes = self.action in ("accept", "withdraw")
        return [HasScope(), HasLogin()] if writes else [HasScope()]

    @extend_schema(responses=ConsentStateOutput(many=True), operation_id="consents_list")
    def list(self, request: Request) -> Response:
        """Where the person stands with each text, and which they have to be asked for."""
        with acting_as(self.user_id):
            return _shown(consent_states(self.user_id))

    @extend_schema(request=AcceptConsentsInput, responses=ConsentStateOutput(many=True))
    def accept(self, request: Request) -> Response:
        """Agree to current versions, all of them or none. To agree again changes nothing."""
        values = given(AcceptConsentsInput, request.data)
        return _shown(
            accept_consents(
                user_id=self.user_id,
                versions={one["type"]: one["version"] for one in values["consents"]},
                method=ConsentMethod(values["method"]),
                source=ConsentSource.API,
            )
        )

    @extend_schema(request=WithdrawConsentInput, responses=ConsentStateOutput(many=True))
    def withdraw(self, request: Request) -> Response:
        """Withdraw one agreement. What needs it then asks for it again."""
        values = given(WithdrawConsentInput, request.data)
        return _shown(
            withdraw_consent(
                user_id=self.user_id,
                kind=ConsentType(values["type"]),
                source=ConsentSource.API,
            )
        )


class ConsentHistoryViewSet(ReadMixin, TenantViewSet):
    """Everything that the person ever agreed to or withdrew, the latest first."""

    read_scope = Scope.ACCOUNT_READ
    serializer_class = ConsentOutput
    filter_backends = []
    queryset = Consent.objects.none()

    def get_queryset(self) -> QuerySet[Consent]:
        return Consent.objects.visible_to(self.user_id).defer("address", "agent")


class ConsentDocumentsView(OpenView):
    """The texts, for everybody: they are shown before anybody has an account."""

    @extend_schema(
        responses=DocumentOutput(many=True), operation_id="consent_documents_list", auth=[]
    )
    def get(self, request: Request) -> Response:
        return Response(DocumentOutput(current_documents(), many=True).data)  # type: ignore[arg-type]  # the stubs know no many=True


def _shown(states: list[ConsentState]) -> Response:
    return Response(ConsentStateOutput(states, many=True).data)  # type: ignore[arg-type]  # the stubs know no many=True
