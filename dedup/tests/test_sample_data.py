from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts.tests.factories import make_operator
from common.tenancy import acting_as
from dedup.models import Import, Message
from dedup.tests.factories import sample_files

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])


def load() -> str:
    out = StringIO()
    call_command("load_sample_data", stdout=out)
    return out.getvalue()


def test_production_has_no_sample_data(settings: Any) -> None:
    settings.SAMPLE_DATA = False
    operator = make_operator()

    with pytest.raises(CommandError, match="switched off"):
        load()

    with acting_as(operator.pk):
        assert not Import.objects.exists()


def test_the_samples_come_in_once(settings: Any) -> None:
    settings.SAMPLE_DATA = True
    operator = make_operator()

    first, second = load(), load()

    assert first == f"{len(sample_files())} sample files imported.\n"
    assert second == "0 sample files imported.\n"
    with acting_as(operator.pk):
        assert Import.objects.completed().count() == len(sample_files())
        assert Message.objects.count() > 50


def test_what_an_interrupted_start_left_out_comes_in_later(settings: Any) -> None:
    settings.SAMPLE_DATA = True
    operator = make_operator()
    call_command("import_conversations", str(sample_files()[0]), stdout=StringIO())

    load()

    with acting_as(operator.pk):
        assert Import.objects.filter(original=None).count() == len(sample_files())
