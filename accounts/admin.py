from django.contrib import admin
from django.contrib.auth.models import Group
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from accounts.models import PersonalAccessToken, User
from accounts.services.access_tokens import revoke_tokens
from audit.house import HouseAdmin, ReadOnlyAdmin

# Roles stand on the user; Django's groups have no meaning here.
admin.site.unregister(Group)


@admin.register(User)
class UserAdmin(HouseAdmin):
    """Accounts; only a superadmin changes anybody's standing."""

    list_display = ["username", "role", "account_status", "last_login", "created_at"]
    list_filter = ["role", "account_status"]
    search_fields = ["username"]
    fields = ["username", "role", "account_status", "last_login", "created_at"]
    readonly_fields = ["username", "last_login", "created_at"]
    ordering = ["-id"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return bool(request.user.is_superuser) and super().has_change_permission(request, obj)


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
