import io
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.models import PersonalAccessToken
from accounts.tests.factories import make_operator, make_user
from accounts.tokens import bearer_of
from tests.events import changes, values

REASON = "ticket 4711 of the person"

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator", "owner"])


def issue(*arguments: str, reason: str = REASON) -> str:
    """What the command prints."""
    out = io.StringIO()
    call_command("issue_token", *arguments, reason=reason, stdout=out)
    return out.getvalue()


def test_a_token_is_printed_that_opens_everything_for_ever() -> None:
    ada = make_user("ada")

    printed = issue("Ada")

    bearer = bearer_of(printed.strip())
    assert printed.count("\n") == 1
    assert bearer is not None
    assert bearer.user == ada
    assert bearer.scopes == {"account:read", "account:write", "archives:read", "archives:write"}
    token = PersonalAccessToken.objects.get()
    assert (token.name, token.expires_at) == ("Issued by command", None)


def test_a_token_has_the_name_the_scopes_and_the_days_that_were_given() -> None:
    make_user("ada")
    scopes = ["--scope", "archives:read", "--scope", "account:read", "--scope", "account:read"]

    issue("ada", "--name", "laptop", *scopes, "--days", "30")

    token = PersonalAccessToken.objects.get()
    assert (token.name, token.scopes) == ("laptop", ["account:read", "archives:read"])
    assert token.expires_at is not None
    left = token.expires_at - timezone.now()
    assert timedelta(days=29, hours=23) < left <= timedelta(days=30)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nobody"], "There is no user called nobody."),
        (["ada", "--name", " "], "--name must have 1 to 100 characters."),
        (["ada", "--name", "x" * 101], "--name must have 1 to 100 characters."),
        (["ada", "--days", "0"], "--days must be between 1 and 36500."),
        (["ada", "--days", "99999999999"], "--days must be between 1 and 36500."),
    ],
)
def test_what_cannot_be_issued_is_refused_in_a_sentence(
    arguments: list[str], sentence: str
) -> None:
    make_user("ada")

    with pytest.raises(CommandError) as caught:
        issue(*arguments)

    assert str(caught.value) == sentence
    assert not PersonalAccessToken.objects.exists()


def test_a_token_for_anybody_but_the_first_operator_wants_a_reason() -> None:
    operator, ada = make_operator("grace"), make_user("ada")

    for reason in ("", " " * 20, "ticket 47"):
        with pytest.raises(CommandError, match="--reason why you go to the things of ada"):
            issue("ada", reason=reason)
    assert not PersonalAccessToken.objects.exists()
    issue("ada")
    issue("grace", reason="")

    noted = changes("accounts_personalaccesstoken")
    assert values(noted, "user_id", "actor_id", "role", "reason") == [
        (ada.pk, None, "operator", REASON),
        (operator.pk, None, "operator", "issue a token by command"),
    ]


def test_an_unknown_scope_is_refused() -> None:
    make_user("ada")

    with pytest.raises(CommandError, match="invalid choice: 'everything'"):
        issue("ada", "--scope", "everything")

    assert not PersonalAccessToken.objects.exists()
