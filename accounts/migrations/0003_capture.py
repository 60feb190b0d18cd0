from django.db import migrations

from audit.capture import capture_changes


class Migration(migrations.Migration):
    """Changes of accounts and tokens are written to the stream, without names and secrets."""

    dependencies = [("accounts", "0002_roles"), ("audit", "0002_guarantees")]

    operations = [
        capture_changes(
            "accounts_user",
            owner="id",
            values=["id", "role", "account_status", "created_at"],
            names=["username", "password", "metadata"],
            # Logins are security events.
            silent=["last_login"],
        ),
        capture_changes(
            "accounts_personalaccesstoken",
            values=["id", "user_id", "scopes", "created_at", "expires_at", "revoked_at"],
            names=["name", "digest", "hint"],
            silent=["last_used_at"],
        ),
    ]
