from datetime import UTC, datetime

import pytest
from django.core.exceptions import ValidationError

from common.api.filters import MomentField


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2026-01-05T09:00:00Z", datetime(2026, 1, 5, 9, tzinfo=UTC)),
        ("2026-01-05T09:00:00+01:00", datetime(2026, 1, 5, 8, tzinfo=UTC)),
        ("2026-01-05T09:00:00+18:00", datetime(2026, 1, 4, 15, tzinfo=UTC)),
        ("", None),
    ],
)
def test_a_moment_is_taken_with_whatever_offset(written: str, moment: datetime | None) -> None:
    found = MomentField(required=False).clean(written)

    assert found == moment
    assert found is None or found.tzinfo == UTC


@pytest.mark.parametrize("written", ["soon", "0001-01-01T00:00:00+05:00"])
def test_a_moment_that_there_is_not_is_refused(written: str) -> None:
    with pytest.raises(ValidationError):
        MomentField(required=False).clean(written)
