from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts.tests.factories import make_operator
from common.tenancy import acting_as
from dedup.management.commands.load_sample_data import SAMPLES
from dedup.models import Import, Message
from dedup.tests.factories import sample_files
from dedup.verification import imports_to_verify, verify_import

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

ALL_SAMPLES = [path for path in SAMPLES.rglob("*") if path.is_file()]


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

    assert first == f"{len(ALL_SAMPLES)} sample files imported.\n"
    assert second == "0 sample files imported.\n"
    with acting_as(operator.pk):
        assert Import.objects.completed().count() == len(ALL_SAMPLES)
        assert Message.objects.count() > 50
        sources = set(Import.objects.values_list("source", flat=True))
        assert sources == {
            "chatgpt", "claude_ai", "claude_code", "claude_code_text", "codex", "openai"
        }  # fmt: skip
    assert [verify_import(operator.pk, row) for row in imports_to_verify(operator.pk)] == [
        [] for _ in ALL_SAMPLES
    ]


def test_what_an_interrupted_start_left_out_comes_in_later(settings: Any) -> None:
    settings.SAMPLE_DATA = True
    operator = make_operator()
    call_command("import_conversations", str(sample_files()[0]), stdout=StringIO())

    load()

    with acting_as(operator.pk):
        assert Import.objects.filter(original=None).count() == len(ALL_SAMPLES)
