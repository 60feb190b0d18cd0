from rest_framework import serializers

from accounts.models import User


class AccountOutput(serializers.ModelSerializer[User]):
    class Meta:
        model = User
        fields = ["id", "username", "role", "account_status", "created_at"]
