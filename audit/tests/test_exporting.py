"""The stream is written to files: each event once, in order, chained."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any
from uuid import UUID

import pytest
from django.core.files.storage import FileSystemStorage, default_storage
from django.core.management import call_command

from accounts.tests.factories import make_user
from audit.choices import SecurityKind
from audit.errors import StreamConflictError
from audit.exporting import export_events, stream_lag
from audit.lines import BEGINNING, hash_of
from audit.models import ExportBatch
from audit.recording import record
from audit.tasks import export_events as export_task
from audit.tests.captured import insert, one
from audit.tests.streams import (
    PATIENCE,
    add_events,
    export_everything,
    export_until,
    files_of_stream,
    ids_in_database,
    ids_in_files,
    lines_in,
    lines_of,
    make_stream,
    name_of,
)
from audit.verification import verify_stream
from common.storage import place
from common.tenancy import acting_as, as_operator
from common.tests.connections import Connection, connect_as, connect_as_superuser
from common.tests.races import at_once

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])


def test_a_change_is_a_line_without_words() -> None:
    ada = make_user("ada")

    batches = export_everything()

    (line,) = lines_of(*batches)
    assert line["event"] == "user-registration"
    assert (line["subject"], line["row"], line["operation"]) == (
        "accounts_user",
        str(ada.pk),
        "INSERT",
    )
    assert line["new"].keys() == {
        "id", "role", "account_status", "created_at", "processing_restricted_at",
    }  # fmt: skip
    assert (line["n"], line["previous"]) == (1, BEGINNING.hex())
    assert line["hash"] == hash_of(line).hex()
    assert "ada" not in {str(value) for value in line["new"].values()}
    assert bytes(batches[-1].head or b"").hex() == line["hash"]


def test_nothing_new_makes_no_file() -> None:
    make_user()

    written = export_everything()

    assert export_events() is None
    with as_operator("test"):
        assert ExportBatch.objects.count() == len(written) == 1


def test_an_update_names_what_changed_and_keeps_no_words() -> None:
    ada = make_user()
    export_everything()
    ada.metadata = {"note": "a secret wish"}
    ada.set_password("correct horse battery staple")
    with acting_as(ada.pk):
        ada.save(update_fields=["metadata", "password"])

    batches = export_everything()

    (line,) = lines_of(*batches)
    assert line["changed"] == ["metadata", "password"]
    assert (line["actor"], line["user"], line["role"]) == (str(ada.pk), str(ada.pk), "app")
    assert "wish" not in json.dumps(line)
    assert verify_stream().problems == []


def lag() -> float:
    with as_operator("test"):
        return stream_lag()


def add_own_conversation(connection: Connection, owner: UUID, key: str) -> UUID:
    """In an open transaction as `app`; returns the key of the event."""
    connection.execute("SELECT set_config('app.user_id', %s, true)", [str(owner)])
    row = insert(connection, "dedup_conversation", user_id=owner, native_key=key)
    return UUID(str(one(connection, "SELECT id FROM audit_change_event WHERE row_id = %s", row)))


def count_one(connection: Connection, owner: UUID, row: UUID) -> UUID:
    """One message more; returns the key of the event."""
    connection.execute("SELECT set_config('app.user_id', %s, true)", [str(owner)])
    connection.execute(
        "UPDATE dedup_conversation SET total_messages = total_messages + 1 WHERE id = %s", [row]
    )
    latest = "SELECT id FROM audit_change_event WHERE row_id = %s ORDER BY id DESC LIMIT 1"
    return UUID(str(one(connection, latest, row)))


def planned() -> ExportBatch | None:
    with as_operator("test"):
        return ExportBatch.objects.planned().first()


def test_the_first_file_makes_its_folder(files: Path) -> None:
    assert not files.exists()
    before = datetime.now(UTC)
    make_user()

    export_everything()

    (file,) = files_of_stream()
    days = {f"year={day:%Y}/month={day:%m}/day={day:%d}" for day in (before, datetime.now(UTC))}
    assert name_of(file) in {f"observability/{day}/000000000001.jsonl" for day in days}


def test_files_follow_each_other_without_a_gap() -> None:
    files = make_stream(3, 1, 4)

    lines = [line for file in files for line in lines_in(file)]
    assert [line["n"] for line in lines] == list(range(1, 9))
    assert [line["previous"] for line in lines[1:]] == [line["hash"] for line in lines[:-1]]
    assert [file.name for file in files] == [f"{number:012}.jsonl" for number in (1, 2, 3)]
    assert sorted(ids_in_files()) == sorted(ids_in_database())
    with as_operator("test"):
        batches = list(ExportBatch.objects.order_by("sequence"))
    assert [(batch.sequence, batch.first_line, batch.lines) for batch in batches] == [
        (1, 1, 3),
        (2, 4, 1),
        (3, 5, 4),
    ]
    assert [batch.upto for batch in batches[:-1]] == [batch.after for batch in batches[1:]]


def test_what_happened_stands_in_the_stream_with_its_details_and_nowhere_from() -> None:
    ada = make_user("ada")
    record(SecurityKind.DATA_EXPORTED, user_id=ada.pk, details={"messages": 3, "form": "zip"})

    lines = lines_of(*export_everything())

    assert [line["event"] for line in lines] == ["user-registration", "data-exported"]
    assert lines[1]["details"] == {"messages": 3, "form": "zip"}
    assert (lines[1]["kind"], lines[1]["user"]) == ("data_exported", str(ada.pk))


def test_an_open_transaction_holds_back_nothing_but_its_own() -> None:
    make_stream(1)
    ada = make_user("ada")
    export_everything()
    with connect_as("default") as first, connect_as("default") as second:
        with first.transaction():
            held = add_own_conversation(first, ada.pk, "held")
            with second.transaction():
                after = add_own_conversation(second, ada.pk, "after")
            time.sleep(0.3)
            assert 0.3 <= lag() < 30

            export_everything()

            assert ids_in_files()[-1] == after
            assert lag() == 0
        export_everything()

    assert ids_in_files()[-2:] == [after, held]
    assert lag() == 0
    assert verify_stream().problems == []


def test_what_is_committed_later_with_a_smaller_key_is_not_lost() -> None:
    """Whoever asks only for keys above the last exported one would never see it."""
    ada = make_user("ada")
    export_everything()
    with connect_as("default") as first, connect_as("default") as second, first.transaction():
        with second.transaction():
            second.execute("SELECT pg_current_xact_id()")
            smaller = add_own_conversation(first, ada.pk, "smaller")
            greater = add_own_conversation(second, ada.pk, "greater")
        assert smaller < greater
        export_until(greater)
        assert smaller not in ids_in_files()

    export_until(smaller)

    assert ids_in_files()[-2:] == [greater, smaller]
    assert len(ids_in_files()) == len(set(ids_in_files())) == 3


def test_what_is_committed_later_by_an_older_transaction_is_not_lost() -> None:
    ada = make_user("ada")
    export_everything()
    with connect_as("default") as first, connect_as("default") as second, first.transaction():
        first.execute("SELECT pg_current_xact_id()")
        with second.transaction():
            younger = add_own_conversation(second, ada.pk, "younger")
        export_events()
        older = add_own_conversation(first, ada.pk, "older")
        export_events()
        assert younger in ids_in_files()

    export_until(older)

    assert ids_in_files()[-2:] == [younger, older]


def test_changes_of_one_row_come_in_their_order_although_others_are_open() -> None:
    ada = make_user("ada")
    with connect_as_superuser() as superuser:
        row = insert(superuser, "dedup_conversation", user_id=ada.pk)
    export_everything()
    with (
        connect_as("default") as older,
        connect_as("default") as younger,
        connect_as("default") as open_one,
        open_one.transaction(),
    ):
        with older.transaction():
            older.execute("SELECT pg_current_xact_id()")
            open_one.execute("SELECT pg_current_xact_id()")
            with younger.transaction():
                count_one(younger, ada.pk, row)
            last = count_one(older, ada.pk, row)
        export_until(last)
    export_everything()

    lines = [line for file in files_of_stream() for line in lines_in(file)]
    assert [line["new"]["total_messages"] for line in lines if line.get("changed")] == [1, 2]


def test_a_transaction_that_is_rolled_back_leaves_nothing_in_the_stream() -> None:
    ada = make_user("ada")
    with connect_as("default") as app, app.transaction(force_rollback=True):
        gone = add_own_conversation(app, ada.pk, "gone")
    add_events(1)

    export_everything()

    assert gone not in ids_in_files()
    assert len(ids_in_files()) == 2


def placed_in_part(name: str, file: IO[bytes]) -> bool:
    """As a storage does that writes under the name itself, and is killed then."""
    path = Path(default_storage.path(name))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.read(700))
    raise OSError("killed")


def placed_whole(name: str, file: IO[bytes]) -> bool:
    """The row is not told."""
    place(name, file)
    raise OSError("killed")


def no_space_left(storage: FileSystemStorage, name: str, content: Any) -> str:
    raise OSError("no space left")


def export_until_it_fails(match: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            export_events()
        except OSError as error:
            if str(error) == match:
                return
            raise
    pytest.fail("it never failed")


@pytest.fixture
def torn(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The second file as a writer left it that was killed; its plan stands."""
    make_stream(3)
    add_events(5)
    with monkeypatch.context() as patched:
        patched.setattr("audit.exporting.place", placed_in_part)
        export_until_it_fails("killed")
    return files_of_stream()[1]


def test_a_plan_is_carried_out_by_the_next_writer(torn: Path) -> None:
    batch = planned()
    torn.unlink()

    written = export_events()

    assert batch is not None
    assert written is not None
    assert (written.pk, name_of(torn)) == (batch.pk, written.stored_as)
    assert verify_stream().problems == []
    assert sorted(ids_in_files()) == sorted(ids_in_database())


def test_a_whole_file_whose_row_does_not_say_so_is_written_again_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add_events(4)
    with monkeypatch.context() as patched:
        patched.setattr("audit.exporting.place", placed_whole)
        export_until_it_fails("killed")
    (file,) = files_of_stream()
    whole, batch = file.read_bytes(), planned()
    assert batch is not None

    written = export_events()

    assert written == batch
    assert files_of_stream() == [file]
    assert file.read_bytes() == whole
    assert verify_stream().problems == []


@pytest.mark.parametrize("foreign", [b"a note of somebody's\n", b"{", b"longer", b"half", b""])
def test_a_foreign_file_under_the_planned_name_is_refused_and_left(
    torn: Path, foreign: bytes
) -> None:
    if foreign == b"longer":
        foreign = torn.read_bytes() + b"x" * 10_000
    elif foreign == b"half":
        # No storage of ours shows half of what is written to it.
        foreign = torn.read_bytes()
    elif foreign == b"{":
        foreign = torn.read_bytes()[:300] + b"#" + torn.read_bytes()[301:]
    torn.write_bytes(foreign)

    with pytest.raises(StreamConflictError, match=r"000000000002\.jsonl holds other lines"):
        export_events()

    assert torn.read_bytes() == foreign
    assert planned() is not None
    assert len(files_of_stream()) == 2
    torn.unlink()
    export_everything()
    assert sorted(ids_in_files()) == sorted(ids_in_database())
    assert verify_stream().problems == []


def test_a_storage_that_fails_keeps_the_plan_for_the_next_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_stream(2)
    add_events(3)

    with monkeypatch.context() as patched:
        patched.setattr(FileSystemStorage, "_save", no_space_left)
        export_until_it_fails("no space left")
        failed = planned()
        assert failed is not None
        with pytest.raises(OSError, match="no space left"):
            export_events()
        assert planned() == failed

    written = export_events()
    assert written == failed
    assert [len(lines_in(file)) for file in files_of_stream()] == [2, 3]
    assert verify_stream().problems == []


def test_several_exporters_at_once_write_each_event_once() -> None:
    for _ in range(4):
        add_events(40)
        answers = at_once([export_events] * 4)
        assert [answer for answer in answers if isinstance(answer, Exception)] == []

    export_everything()

    assert len(ids_in_files()) == 160
    assert sorted(ids_in_files()) == sorted(ids_in_database())
    assert verify_stream().problems == []


def test_each_file_is_a_line_of_the_log_that_says_what_the_stream_ends_with(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", logger="audit.exporting")

    make_stream(3, 2)

    ends = [lines_in(file)[-1] for file in files_of_stream()]
    assert [record.getMessage() for record in caplog.records] == [
        f"the stream ends with line {end['n']}, hash {end['hash']}" for end in ends
    ]


def test_the_task_twice_is_the_same_as_once() -> None:
    add_events(2)
    deadline = time.monotonic() + 30
    while not files_of_stream():
        assert time.monotonic() < deadline
        export_task.run()

    export_task.run()

    assert [len(lines_in(file)) for file in files_of_stream()] == [2]


def test_the_command_says_what_it_wrote(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("audit_export")
    assert capsys.readouterr().out == "Nothing is new, or another exporter is at work.\n"
    add_events(3)
    deadline = time.monotonic() + 30
    while not files_of_stream():
        assert time.monotonic() < deadline
        capsys.readouterr()
        call_command("audit_export")

    assert capsys.readouterr().out == f"3 events in {name_of(files_of_stream()[0])}.\n"
