"""What goes wrong is said in one sentence, which is what the operator has to do."""

import pytest
from django.core.management import CommandError, call_command

from audit.tests.streams import add_events, files_of_stream, make_stream
from common.tests.connections import connect_as_superuser

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])


def test_an_export_that_is_refused_ends_with_the_sentence_that_says_what_to_do() -> None:
    make_stream(3)
    add_events(1)
    with connect_as_superuser() as superuser:
        superuser.execute("SET session_replication_role = replica")
        ahead = f"{10**15}:{10**15}:"
        superuser.execute("UPDATE audit_export_batch SET upto = %s", [ahead])

    with pytest.raises(CommandError, match=r"have not begun.* run manage\.py audit_continue\.$"):
        call_command("audit_export")

    assert len(files_of_stream()) == 1
