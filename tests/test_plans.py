"""What the planner makes of policies: a page reads about a page, however much the person has."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from django.db import connection

from accounts.tests.factories import make_user
from common.tenancy import acting_as
from common.tests.connections import connect_as_superuser
from dedup.models import Segment

pytestmark = pytest.mark.django_db(transaction=True)

OWNED = 5000
OTHERS = 400
PAGE = 50

PEOPLE = """
    INSERT INTO accounts_user (username, password, role, account_status, metadata)
    SELECT 'other-' || number, '!', 'user', 'active', '{}' FROM generate_series(1, %s) number
"""
CONVERSATIONS = """
    INSERT INTO dedup_conversation
        (user_id, source, native_key, parent_key, title, project, total_messages, metadata)
    SELECT u.id, 'claude_code', number::text, '', '', '', 0, '{}'
    FROM accounts_user u, generate_series(1, CASE u.id WHEN %s THEN %s ELSE 10 END) number
"""
SEGMENTS = """
    INSERT INTO dedup_segment (user_id, conversation_id, number)
    SELECT user_id, id, 0 FROM dedup_conversation
"""


def give_conversations(person: UUID) -> None:
    """Many to the person, and some to many others."""
    with connect_as_superuser() as superuser:
        superuser.execute(PEOPLE, [OTHERS])
        superuser.execute(CONVERSATIONS, [person, OWNED])
        superuser.execute(SEGMENTS)
        superuser.execute("ANALYZE dedup_conversation, dedup_segment")


def nodes_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", []):
        yield from nodes_of(inner)


def test_a_page_joined_with_its_parents_reads_no_more_than_a_few_pages() -> None:
    ada = make_user()
    give_conversations(ada.pk)

    with acting_as(ada.pk), connection.cursor() as cursor:
        page = Segment.objects.visible_to(ada.pk).select_related("conversation").order_by("-id")
        statement, values = page[:PAGE].query.sql_with_params()
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", values)
        (found,) = cursor.fetchone()

    (explained,) = json.loads(found) if isinstance(found, str) else found
    read = sum(
        node["Actual Rows"] * node["Actual Loops"]
        for node in nodes_of(explained["Plan"])
        if "Relation Name" in node
    )
    assert 2 * PAGE <= read < OWNED / 5
