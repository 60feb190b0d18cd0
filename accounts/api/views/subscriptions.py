from collections.abc import Mapping
from hashlib import sha256

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.permissions import HasConsents, HasScope
from accounts.api.serializers.subscriptions import (
    NotificationOutput,
    ReceiptInput,
    SubscriptionOutput,
)
from accounts.choices import Scope, SubscriptionProvider
from accounts.errors import InvalidNotificationError
from accounts.selectors.subscriptions import current_subscription
from accounts.services.subscriptions import (
    apply_purchase,
    cancel_subscription,
    receive_notification,
    verify_receipt,
)
from common.api.views import OpenView, TenantViewSet, given
from common.errors import NotFoundError
from common.idempotency import Answer, answer_once, fingerprint_of
from common.tenancy import acting_as


class SubscriptionViewSet(TenantViewSet):
    """What the person is subscribed to."""

    read_scope = Scope.ACCOUNT_READ
    write_scope = Scope.ACCOUNT_WRITE
    serializer_class = SubscriptionOutput
    pagination_class = None
    filter_backends = []

    def get_permissions(self) -> list[BasePermission]:
        """Nobody pays for what they have not agreed to."""
        return [HasScope(), *([HasConsents()] if self.action == "upgrade" else [])]

    @extend_schema(operation_id="subscription_retrieve")
    def retrieve(self, request: Request) -> Response:
        with acting_as(self.user_id):
            current = current_subscription(self.user_id)
        if current is None:
            raise NotFoundError("The free year begins within the hour.")
        return Response(SubscriptionOutput(current).data)

    @extend_schema(
        request=ReceiptInput,
        responses=SubscriptionOutput,
        parameters=[OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER)],
    )
    def upgrade(self, request: Request) -> Response:
        """Hand in what a store gave for a purchase. The same receipt again changes nothing."""
        values = given(ReceiptInput, request.data)
        provider, receipt = SubscriptionProvider(values["provider"]), values["receipt"]
        # Outside of the transaction: stores are slow.
        purchase = verify_receipt(provider=provider, receipt=receipt)

        def apply() -> Answer:
            row = apply_purchase(user_id=self.user_id, purchase=purchase)
            return Answer(200, dict(SubscriptionOutput(row).data))

        answer, replayed = answer_once(
            user_id=self.user_id,
            key=request.headers.get("Idempotency-Key", ""),
            fingerprint=fingerprint_of("receipts", provider, sha256(receipt.encode()).hexdigest()),
            action=apply,
        )
        headers = {"Idempotent-Replayed": "true"} if replayed else {}
        return Response(answer.body, answer.status, headers=headers)

    @extend_schema(request=None, responses=SubscriptionOutput)
    def cancel(self, request: Request) -> Response:
        """Let premium end when what is paid for is over. What a store sold is cancelled there."""
        return Response(SubscriptionOutput(cancel_subscription(user_id=self.user_id)).data)


class StoreNotificationView(OpenView):
    """Where stores say what became of purchases; their signature is all that opens it.

    Anything but a 200 makes a store repeat its message for days.
    """

    provider = SubscriptionProvider.LOCAL

    @extend_schema(request=OpenApiTypes.OBJECT, responses=NotificationOutput, auth=[])
    def post(self, request: Request) -> Response:
        if not isinstance(request.data, Mapping):
            raise InvalidNotificationError("The body is no object of JSON.")
        outcome = receive_notification(
            provider=self.provider, body=request.data, headers=request.headers
        )
        return Response(NotificationOutput({"outcome": outcome}).data)
