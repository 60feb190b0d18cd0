from collections import defaultdict
from typing import Any

from allauth.account.models import EmailAddress, EmailConfirmation
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from django.contrib import admin
from django.contrib.auth.models import Group
from django.db.models import Model, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest

from accounts.choices import AccountStatus, Role, SessionEnd
from accounts.models import (
    BiometricKey,
    Consent,
    DeviceSession,
    PersonalAccessToken,
    Subscription,
    User,
)
from accounts.services.access_tokens import revoke_tokens
from accounts.services.biometrics import revoke_keys
from accounts.services.sessions import end_sessions
from accounts.services.users import change_standing
from audit.choices import SecurityKind
from audit.house import HouseAdmin, ReadOnlyAdmin
from audit.recording import record_for_each
from common.logs import pseudonym_of

# Roles stand on the user; Django's groups have no meaning here.
admin.site.unregister(Group)


# Of allauth; what of them an operator needs stands on the account.
for identity in (
    EmailAddress, EmailConfirmation, SocialAccount, SocialApp, SocialToken, Authenticator,
):  # fmt: skip
    if admin.site.is_registered(identity):
        admin.site.unregister(identity)

SEALED = ["names", "addresses"]


@admin.register(User)
class UserAdmin(HouseAdmin):
    """Accounts; only a superadmin changes anybody's standing, and reads what is sealed."""

    list_display = ["username", "role", "account_status", "last_login", "created_at"]
    list_filter = ["role", "account_status"]
    search_fields = ["username"]
    search_help_text = "A username; a superadmin also finds by a whole e-mail address"
    fields = ["username", "role", "account_status", "last_login", "created_at", "in_logs"]
    readonly_fields = ["username", "last_login", "created_at", "in_logs", *SEALED]
    ordering = ["-id"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return bool(request.user.is_superuser) and super().has_change_permission(request, obj)

    def save_model(
        self,
        request: HttpRequest,
        obj: User,
        form: "ModelForm[User]",
        change: bool,  # noqa: FBT001 - as overridden
    ) -> None:
        change_standing(
            user_id=obj.pk, role=Role(obj.role), status=AccountStatus(obj.account_status)
        )

    def get_fields(self, request: HttpRequest, obj: User | None = None) -> list[str]:
        return [*self.fields, *(SEALED if request.user.is_superuser else [])]

    def get_object(self, request: HttpRequest, *args: Any, **options: Any) -> User | None:
        user: User | None = super().get_object(request, *args, **options)
        if user is not None and request.user.is_superuser:
            record_for_each(
                SecurityKind.SECRETS_REVEALED,
                [user.pk],
                subject="accounts_user",
                row_id=user.pk,
                details={"fields": SEALED},
                required=True,
            )
        return user

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[User], search_term: str
    ) -> tuple[QuerySet[User], bool]:
        """Addresses are sealed: only a whole one finds its account, for whom may read it there."""
        if "@" not in search_term or not request.user.is_superuser:
            found: tuple[QuerySet[User], bool] = super().get_search_results(
                request, queryset, search_term
            )
            return found
        owners = set(
            EmailAddress.objects.filter(email=search_term).values_list("user_id", flat=True)
        )
        record_for_each(
            SecurityKind.SECRETS_REVEALED,
            list(owners),
            subject="accounts_user",
            details={"fields": ["addresses"]},
            required=True,
        )
        return queryset.filter(pk__in=owners), False

    @admin.display(description="In logs")
    def in_logs(self, user: User) -> str:
        return pseudonym_of(user.pk)

    @admin.display(description="Names")
    def names(self, user: User) -> str:
        given = (user.full_name, user.given_name, user.family_name)
        return " · ".join(name for name in given if name) or "-"

    @admin.display(description="E-mail addresses")
    def addresses(self, user: User) -> str:
        rows = EmailAddress.objects.filter(user=user).order_by("-primary", "pk")
        return (
            ", ".join(f"{row.email}{'' if row.verified else ' (unconfirmed)'}" for row in rows)
            or "-"
        )


@admin.register(DeviceSession)
class DeviceSessionAdmin(ReadOnlyAdmin):
    """Where people are logged in; what their devices are called is theirs alone."""

    list_display = [
        "user", "platform", "method", "created_at", "last_seen_at", "ended_at", "ended_because",
    ]  # fmt: skip
    list_select_related = ["user"]
    list_filter = ["platform", "ended_because"]
    search_fields = ["user__username"]
    fields = [
        "user", "platform", "device_model", "app_version", "os_version", "method", "created_at",
        "proved_at", "last_seen_at", "expires_at", "latest_at", "ended_at", "ended_because",
    ]  # fmt: skip
    ordering = ["-id"]
    actions = ["end"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[DeviceSession]:
        rows: QuerySet[DeviceSession] = super().get_queryset(request)
        return rows.defer("device_name", "address", "agent")

    @admin.action(description="End")
    def end(self, request: HttpRequest, queryset: QuerySet[DeviceSession]) -> None:
        chosen = defaultdict(list)
        for session_id, user_id in queryset.values_list("pk", "user_id"):
            chosen[user_id].append(session_id)
        ended = sum(
            end_sessions(user_id=user_id, session_ids=session_ids, because=SessionEnd.REVOKED)
            for user_id, session_ids in chosen.items()
        )
        self.message_user(request, f"{ended} sessions ended.")


@admin.register(PersonalAccessToken)
class PersonalAccessTokenAdmin(ReadOnlyAdmin):
    list_display = [
        "name",
        "hint",
        "user",
        "created_at",
        "last_used_at",
        "expires_at",
        "revoked_at",
    ]
    list_select_related = ["user"]
    search_fields = ["name", "hint", "user__username"]
    fields = [
        "name", "hint", "user", "scopes", "created_at", "last_used_at", "expires_at", "revoked_at",
    ]  # fmt: skip
    ordering = ["-id"]
    actions = ["revoke"]

    @admin.action(description="Revoke")
    def revoke(self, request: HttpRequest, queryset: QuerySet[PersonalAccessToken]) -> None:
        count = revoke_tokens(token_ids=[token.pk for token in queryset])
        self.message_user(request, f"{count} tokens revoked.")


@admin.register(Consent)
class ConsentAdmin(ReadOnlyAdmin):
    """What people agreed to and withdrew."""

    list_display = ["type", "version", "given", "user", "source", "at"]
    list_select_related = ["user"]
    list_filter = ["type", "given", "source"]
    search_fields = ["user__username"]
    fields = ["user", "type", "version", "given", "method", "source", "at"]
    ordering = ["-id"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Consent]:
        rows: QuerySet[Consent] = super().get_queryset(request)
        return rows.defer("address", "agent")


@admin.register(Subscription)
class SubscriptionAdmin(ReadOnlyAdmin):
    """Free years and purchases; stores decide, and the sweeps."""

    list_display = ["user", "tier", "plan", "status", "provider", "starts_at", "ends_at", "renews"]
    list_select_related = ["user"]
    list_filter = ["tier", "status", "provider"]
    search_fields = ["user__username"]
    fields = [
        "user", "tier", "plan", "status", "provider", "starts_at", "ends_at", "renews",
        "cancelled_at", "purchased_at", "stated_at", "created_at", "updated_at",
    ]  # fmt: skip
    ordering = ["-id"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Subscription]:
        rows: QuerySet[Subscription] = super().get_queryset(request)
        return rows.defer("external_id", "external_digest")


@admin.register(BiometricKey)
class BiometricKeyAdmin(ReadOnlyAdmin):
    """Keys that people's devices hold; what their owners call them is not for the house."""

    list_display = [
        "kind",
        "status",
        "user",
        "failures",
        "created_at",
        "registered_at",
        "last_used_at",
        "revoked_at",
    ]
    list_select_related = ["user"]
    list_filter = ["kind", "status"]
    search_fields = ["user__username"]
    fields = [
        "user", "kind", "device_id", "status", "failures", "created_at", "registered_at",
        "last_used_at", "revoked_at",
    ]  # fmt: skip
    ordering = ["-id"]
    actions = ["revoke"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[BiometricKey]:
        keys: QuerySet[BiometricKey] = super().get_queryset(request).defer("label")
        return keys

    @admin.action(description="Revoke")
    def revoke(self, request: HttpRequest, queryset: QuerySet[BiometricKey]) -> None:
        count = revoke_keys(key_ids=[key.pk for key in queryset])
        self.message_user(request, f"{count} keys revoked.")
