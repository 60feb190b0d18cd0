from django.db import models
from django.db.models import CheckConstraint, Func, Q, TextField, UniqueConstraint
from django.db.models.functions import Cast
from django.db.models.lookups import LessThanOrEqual

from accounts.models.users import User
from accounts.querysets import PreferenceQuerySet
from common.fields import Uuid7Field

# What a frontend calls its settings: theme, language, notifications.email, default_view.
KEY_PATTERN = r"^[a-z][a-z0-9_.]*$"
LARGEST_VALUE_BYTES = 16_384


class Preference(models.Model):
    """One setting of a person, as a frontend keeps it.

    No operator needs these, so that the admin has no page for them.
    """

    id = Uuid7Field()
    user = models.ForeignKey(
        User, on_delete=models.CASCADE, db_index=False, db_comment="Whose setting it is"
    )
    key = models.CharField(max_length=100, db_comment="Name of the setting")
    value = models.JSONField(db_comment="What was chosen: any JSON but null")
    updated_at = models.DateTimeField(db_comment="Chosen")

    objects = PreferenceQuerySet.as_manager()

    class Meta:
        db_table_comment = "Settings that frontends keep for people"
        constraints = [
            UniqueConstraint(fields=["user", "key"], name="preference_once"),
            CheckConstraint(condition=Q(key__regex=KEY_PATTERN), name="preference_key_form"),
            CheckConstraint(
                condition=LessThanOrEqual(
                    Func(
                        Cast("value", TextField()),
                        function="octet_length",
                        output_field=models.IntegerField(),
                    ),
                    LARGEST_VALUE_BYTES,
                ),
                name="preference_value_size",
            ),
        ]

    def __str__(self) -> str:
        return self.key
