"""One archive to import into, in several states. Import this after `django.setup()`.

Every measurement begins with a clone of a template (see databases.py). The templates:

- `empty`: one person and nothing of theirs, in tables that were never analysed;
- `plain`: their archive of some 10,000 messages in ten sessions, analysed; the schema is as
  migrations leave it, and so it is in `empty`;
- `computing`: the same, but the server computes `dedup_revision.search` as a generated column;
- `without`: the same without that column and its index.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import LiteralString
from uuid import UUID

from databases import clone_database, create_database, lead_to, settle
from django.conf import settings
from transcripts import Words, session_rows, transcript_path, words, write_transcript

from accounts.models import User
from common.tenancy import acting_as
from dedup.formats.contract import ParsedRecord
from dedup.models import Message
from dedup.reading import parts_of
from dedup.services import import_path

EMPTY, PLAIN, COMPUTING, WITHOUT, LARGEST = "empty", "plain", "computing", "without", "largest"

SESSIONS = 10

DROP_SEARCH: LiteralString = "ALTER TABLE dedup_revision DROP COLUMN search"
COMPUTE_SEARCH: tuple[LiteralString, ...] = (
    DROP_SEARCH,
    """
    ALTER TABLE dedup_revision ADD COLUMN search tsvector
    GENERATED ALWAYS AS (to_tsvector('english', text)) STORED
    """,
    "CREATE INDEX revision_search ON dedup_revision USING gin (search)",
)

Say = Callable[[str], None]


class Archive:
    """One person, the transcripts to import, and the templates that hold their archive."""

    def __init__(self, folder: Path, say: Say) -> None:
        self.folder = folder
        self.say = say
        self.words: Words = words()
        self.user_id = UUID(int=0)

    def transcript(self, seed: int, records: int) -> Path:
        path = transcript_path(self.folder / str(records), seed)
        return write_transcript(path, session_rows(self.words, seed), records)

    def make_templates(self, messages: int) -> None:
        """Afterwards there are all templates but the largest, with that many messages."""
        self.say(f"an archive of {messages} messages")
        create_database(EMPTY)
        user = User(username="ada")
        user.set_unusable_password()
        user.save()
        self.user_id = user.pk
        clone_database(EMPTY, PLAIN)
        for seed in range(SESSIONS):
            path = self.transcript(1000 + seed, max(messages // SESSIONS, 1))
            import_path(user_id=self.user_id, path=path)
            if seed == 0:
                # Or the planner would go on to take the tables for empty.
                settle(PLAIN)
        settle(PLAIN)
        clone_database(PLAIN, COMPUTING, *COMPUTE_SEARCH)
        settle(COMPUTING)
        clone_database(PLAIN, WITHOUT, DROP_SEARCH)
        settle(WITHOUT)
        lead_to(PLAIN)

    def timed_import(self, path: Path) -> float:
        """Seconds that an import takes whose bytes the file storage does not have yet."""
        shutil.rmtree(Path(settings.MEDIA_ROOT), ignore_errors=True)
        return self.timed_again(path)

    def timed_again(self, path: Path) -> float:
        return seconds(lambda: import_path(user_id=self.user_id, path=path))

    def messages(self) -> int:
        """How many the person has in the database to which the aliases lead."""
        with acting_as(self.user_id):
            return Message.objects.count()


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def records_of(path: Path) -> Iterator[ParsedRecord]:
    """The records of a transcript as an import reads them."""
    with path.open("rb") as file:
        for part in parts_of(file, str(path)):
            yield from part.records()
