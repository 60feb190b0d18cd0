from rest_framework import serializers

from accounts.models import User


class RestrictionOutput(serializers.ModelSerializer[User]):
    class Meta:
        model = User
        fields = ["processing_restricted_at"]
