from allauth.account.models import EmailAddress
from rest_framework import serializers

from accounts.models import User


class AddressOutput(serializers.ModelSerializer[EmailAddress]):
    class Meta:
        model = EmailAddress
        fields = ["email", "verified", "primary"]


class AccountOutput(serializers.ModelSerializer[User]):
    """The person's own account; what is sealed in the database is in the clear here."""

    # Without the pattern of what may be chosen, which is Python's: letters of any script.
    username = serializers.CharField()
    addresses = AddressOutput(source="emailaddress_set", many=True)
    full_name = serializers.CharField(allow_null=True)
    given_name = serializers.CharField(allow_null=True)
    family_name = serializers.CharField(allow_null=True)

    class Meta:
        model = User
        fields = [
            "id", "username", "full_name", "given_name", "family_name", "addresses", "role",
            "account_status", "created_at", "updated_at", "last_login",
        ]  # fmt: skip


class AccountInput(serializers.Serializer[User]):
    """What a person can correct; what is not given stays."""

    username = serializers.CharField(
        max_length=150,
        required=False,
        help_text="Letters, digits and . + - _; no @, so that it does not look like an address",
    )
    full_name = serializers.CharField(max_length=255, required=False, allow_null=True)
    given_name = serializers.CharField(max_length=255, required=False, allow_null=True)
    family_name = serializers.CharField(max_length=255, required=False, allow_null=True)
