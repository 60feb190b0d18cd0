from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import RecordedAnswer
from accounts.tasks import KEPT, forget_recorded_answers
from accounts.tests.factories import make_user
from common.tenancy import acting_as

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])


def test_old_answers_are_forgotten_and_fresh_ones_kept_whoever_had_them() -> None:
    ada, bob = make_user(), make_user()
    now = timezone.now()
    for user in (ada, bob):
        with acting_as(user.pk):
            for key, age in (("old", KEPT + timedelta(minutes=1)), ("fresh", timedelta(0))):
                RecordedAnswer.objects.create(
                    user=user, key=key, fingerprint="x", status=202, created_at=now - age
                )

    for _ in range(2):
        forget_recorded_answers.apply(throw=True)

    for user in (ada, bob):
        with acting_as(user.pk):
            assert [row.key for row in RecordedAnswer.objects.all()] == ["fresh"]
