from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import DateTimeRangeField, RangeOperators
from django.db import models
from django.db.models import CheckConstraint, F, Func, Index, Q, UniqueConstraint, Value
from django.db.models.functions import Now

from accounts.choices import (
    NotificationOutcome,
    Plan,
    SubscriptionProvider,
    SubscriptionStatus,
    Tier,
)
from accounts.models.users import User
from accounts.querysets import SubscriptionQuerySet
from common.encryption.fields import SealedTextField
from common.encryption.purposes import Purpose
from common.fields import Uuid7Field


class Subscription(models.Model):
    """A free year from the house, or one purchase at a store with the period that it pays for.

    A purchase that is renewed lasts longer; one that comes back after its end begins anew. Of two
    purchases one is active and the other waits.
    """

    id = Uuid7Field()
    user = models.ForeignKey(
        User,
        on_delete=models.CASCADE,
        related_name="subscriptions",
        db_index=False,
        db_comment="Whose it is",
    )
    tier = models.CharField(max_length=10, choices=Tier, db_comment="Free or premium")
    plan = models.CharField(
        max_length=10, choices=Plan, blank=True, db_comment="Monthly or yearly; empty if free"
    )
    status = models.CharField(
        max_length=10,
        choices=SubscriptionStatus,
        db_comment="Only an active one opens anything, and until its end",
    )
    provider = models.CharField(
        max_length=10, choices=SubscriptionProvider, db_comment="Who gave it out"
    )
    external_id = SealedTextField(
        purpose=Purpose.SUBSCRIPTIONS,
        null=True,
        db_comment="The purchase's id at the store (sealed)",
    )
    external_digest = models.BinaryField(
        max_length=32, null=True, db_comment="Keyed hash of that id, to find it by"
    )
    starts_at = models.DateTimeField(db_comment="In force from then on")
    ends_at = models.DateTimeField(db_comment="Over by then unless it is renewed")
    renews = models.BooleanField(default=True, db_comment="Goes on after its end by itself")
    cancelled_at = models.DateTimeField(
        null=True, db_comment="Will not be renewed, or was taken back, since then"
    )
    purchased_at = models.DateTimeField(
        null=True, db_comment="When the period was bought, as the store says"
    )
    stated_at = models.DateTimeField(
        null=True,
        db_comment="When the store said what is known; older statements count for nothing",
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False, db_comment="Came about")
    updated_at = models.DateTimeField(db_default=Now(), db_comment="Last changed")

    objects = SubscriptionQuerySet.as_manager()

    class Meta:
        db_table_comment = "Free years and purchases; one at a time for each person"
        constraints = [
            CheckConstraint(condition=Q(tier__in=Tier.values), name="subscription_tier_known"),
            CheckConstraint(
                condition=Q(tier=Tier.FREE, plan="") | Q(tier=Tier.PREMIUM, plan__in=Plan.values),
                name="subscription_plan_known",
            ),
            CheckConstraint(
                condition=Q(status__in=SubscriptionStatus.values),
                name="subscription_status_known",
            ),
            CheckConstraint(
                condition=Q(provider__in=SubscriptionProvider.values),
                name="subscription_provider_known",
            ),
            CheckConstraint(
                condition=Q(
                    provider=SubscriptionProvider.SYSTEM,
                    tier=Tier.FREE,
                    external_digest__isnull=True,
                    stated_at__isnull=True,
                    purchased_at__isnull=True,
                )
                | Q(
                    ~Q(provider=SubscriptionProvider.SYSTEM),
                    tier=Tier.PREMIUM,
                    external_digest__isnull=False,
                    stated_at__isnull=False,
                    purchased_at__isnull=False,
                ),
                name="subscription_premium_is_bought",
            ),
            CheckConstraint(
                condition=Q(ends_at__gte=F("starts_at")), name="subscription_ends_after_its_start"
            ),
            UniqueConstraint(
                fields=["provider", "external_digest"], name="subscription_of_one_account"
            ),
            # btree_gist, which compares uuids with =, is not everywhere: a range of one uuid
            # overlaps another one just when they are equal.
            ExclusionConstraint(
                name="subscription_one_at_a_time",
                expressions=[
                    (
                        Func("user", "user", Value("[]"), function="uuidrange"),
                        RangeOperators.OVERLAPS,
                    ),
                    (
                        Func(
                            "starts_at",
                            "ends_at",
                            function="tstzrange",
                            output_field=DateTimeRangeField(),
                        ),
                        RangeOperators.OVERLAPS,
                    ),
                ],
                condition=~Q(status=SubscriptionStatus.PENDING),
            ),
        ]
        indexes = [
            Index(fields=["user", "-id"], name="subscription_of_user"),
            Index(
                fields=["ends_at"],
                name="subscription_due",
                condition=Q(status=SubscriptionStatus.ACTIVE),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.tier} {self.status}"


class ReceivedNotification(models.Model):
    """A message from a store that was treated, and what it said of a purchase; not of a person.

    A receipt may come later than the message, or again under another account.
    """

    id = Uuid7Field()
    provider = models.CharField(
        max_length=10, choices=SubscriptionProvider, db_comment="Which store"
    )
    notification_id = models.CharField(max_length=200, db_comment="The store's id of the message")
    outcome = models.CharField(
        max_length=20, choices=NotificationOutcome, db_comment="What became of it"
    )
    purchase_digest = models.BinaryField(
        max_length=32,
        null=True,
        db_comment="Keyed hash of the purchase's id at the store, if it was about one",
    )
    purchased_at = models.DateTimeField(
        null=True, db_comment="When the period was bought, as the store says"
    )
    stated_at = models.DateTimeField(null=True, db_comment="When the store said so")
    revoked = models.BooleanField(null=True, db_comment="Whether the money went back")
    received_at = models.DateTimeField(db_default=Now(), editable=False, db_comment="Treated")

    class Meta:
        db_table_comment = "Messages from stores, to treat each once"
        constraints = [
            CheckConstraint(
                condition=Q(provider__in=SubscriptionProvider.values),
                name="notification_provider_known",
            ),
            CheckConstraint(
                condition=Q(outcome__in=NotificationOutcome.values),
                name="notification_outcome_known",
            ),
            UniqueConstraint(fields=["provider", "notification_id"], name="notification_once"),
            CheckConstraint(
                condition=Q(
                    purchase_digest__isnull=True,
                    purchased_at__isnull=True,
                    stated_at__isnull=True,
                    revoked__isnull=True,
                )
                | Q(
                    purchase_digest__isnull=False,
                    purchased_at__isnull=False,
                    stated_at__isnull=False,
                    revoked__isnull=False,
                ),
                name="notification_statement_whole",
            ),
        ]
        indexes = [
            Index(fields=["received_at"], name="notification_received"),
            Index(
                fields=["purchase_digest"],
                name="notification_of_purchase",
                condition=Q(purchase_digest__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.notification_id
