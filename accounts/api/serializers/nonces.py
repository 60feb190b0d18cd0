from rest_framework import serializers


class NonceOutput(serializers.Serializer[None]):
    nonce = serializers.CharField(help_text="Give it, or its SHA-256, to Google or Apple")
    expires_in = serializers.IntegerField(help_text="Seconds for which it may be used")
