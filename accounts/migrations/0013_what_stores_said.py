from django.db import migrations, models

SAID = ("purchase_digest", "purchased_at", "stated_at", "revoked")


class Migration(migrations.Migration):
    """What a message of a store said of a purchase is known when a receipt comes later."""

    dependencies = [("accounts", "0012_privacy")]

    operations = [
        migrations.AddField(
            "receivednotification",
            "purchase_digest",
            models.BinaryField(
                db_comment="Keyed hash of the purchase's id at the store, if it was about one",
                max_length=32,
                null=True,
            ),
        ),
        migrations.AddField(
            "receivednotification",
            "purchased_at",
            models.DateTimeField(
                db_comment="When the period was bought, as the store says", null=True
            ),
        ),
        migrations.AddField(
            "receivednotification",
            "stated_at",
            models.DateTimeField(db_comment="When the store said so", null=True),
        ),
        migrations.AddField(
            "receivednotification",
            "revoked",
            models.BooleanField(db_comment="Whether the money went back", null=True),
        ),
        migrations.AddConstraint(
            "receivednotification",
            models.CheckConstraint(
                condition=models.Q(**{f"{name}__isnull": True for name in SAID})
                | models.Q(**{f"{name}__isnull": False for name in SAID}),
                name="notification_statement_whole",
            ),
        ),
        migrations.AddIndex(
            "receivednotification",
            models.Index(
                condition=models.Q(("purchase_digest__isnull", False)),
                fields=["purchase_digest"],
                name="notification_of_purchase",
            ),
        ),
    ]
