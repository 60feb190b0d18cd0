from typing import Any

from rest_framework import serializers

from accounts.choices import SubscriptionProvider
from accounts.models import Subscription
from accounts.selectors.subscriptions import opens_premium

LONGEST_RECEIPT = 20_000
STORES = [
    choice for choice in SubscriptionProvider.choices if choice[0] != SubscriptionProvider.SYSTEM
]


class SubscriptionOutput(serializers.ModelSerializer[Subscription]):
    """The subscription that the person has."""

    premium = serializers.SerializerMethodField(help_text="Whether it opens what needs premium")

    class Meta:
        model = Subscription
        fields = [
            "id", "tier", "plan", "status", "provider", "premium", "starts_at", "ends_at", "renews",
            "cancelled_at", "created_at", "updated_at",
        ]  # fmt: skip

    def get_premium(self, row: Subscription) -> bool:
        return opens_premium(row)


class ReceiptInput(serializers.Serializer[dict[str, Any]]):
    provider = serializers.ChoiceField(choices=STORES)
    receipt = serializers.CharField(
        max_length=LONGEST_RECEIPT,
        help_text="Apple: the signed transaction of StoreKit 2. Google: the purchase token.",
    )


class NotificationOutput(serializers.Serializer[dict[str, str]]):
    outcome = serializers.CharField(help_text="What became of the message")
