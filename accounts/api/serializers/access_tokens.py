from rest_framework import serializers

from accounts.choices import Scope
from accounts.models import PersonalAccessToken


class AccessTokenInput(serializers.Serializer[None]):
    name = serializers.CharField(max_length=100, help_text="What you call it")
    scopes = serializers.MultipleChoiceField(
        choices=Scope.choices, allow_empty=False, help_text="What it may be used for"
    )
    expires_at = serializers.DateTimeField(
        required=False, allow_null=True, default=None, help_text="Within TOKEN_LONGEST_DAYS"
    )


class AccessTokenOutput(serializers.ModelSerializer[PersonalAccessToken]):
    class Meta:
        model = PersonalAccessToken
        fields = [
            "id", "name", "hint", "scopes", "created_at", "last_used_at", "expires_at",
            "revoked_at",
        ]  # fmt: skip


class CreatedAccessTokenOutput(AccessTokenOutput):
    secret = serializers.CharField(help_text="The token itself: nothing shows it again")

    class Meta(AccessTokenOutput.Meta):
        fields = [*AccessTokenOutput.Meta.fields, "secret"]


class RevokedTokensOutput(serializers.Serializer[None]):
    revoked = serializers.IntegerField(help_text="How many had not been revoked")
