"""The stream keeps no words: a journey through everything, after which none of them is in it.

Every place that takes text from outside is given a word of its own. Only the operator's reason is
meant to be kept.
"""

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import AsyncClient, Client, override_settings
from django.urls import reverse
from django.utils import timezone
from psycopg import sql
from rest_framework.test import APIClient

from accounts.choices import ConsentType, Scope
from accounts.exporting import run_export
from accounts.models import PersonalAccessToken, User
from accounts.services.access_tokens import issue_token, revoke_tokens
from accounts.services.subscriptions import start_free_subscription
from accounts.tests.devices import Device
from accounts.tests.factories import keep_session, logged_in_client_of
from accounts.tests.phones import PASSWORD as PHONE_PASSWORD
from accounts.tests.phones import Phone, code_in, deliver_mail, registered
from accounts.tests.purchases import local_store, purchase_of
from accounts.tests.test_second_factors import totp, turn_on
from audit.choices import SecurityKind
from audit.tests.streams import export_everything
from common.queue import ACTOR_HEADER, REQUEST_HEADER
from common.tenancy import acting_as, as_operator
from common.tests.broker import empty_queue, queued_messages
from common.tests.connections import connect_as_superuser
from config.tests.test_access import LIVE_ROUTES, OF_MACHINES, READ, ROUTES, VERBS
from dedup.models import Conversation, Import, Message
from dedup.tasks import read_import
from tests.events import changes, origins, security
from tests.test_reasons import MODELS, PAGES, address_of

pytestmark = pytest.mark.django_db(
    transaction=True,
    databases=["default", "operator", "owner", "metrics"],
)

LIVE_MIDDLEWARE = [
    "common.middleware.RequestContextMiddleware", "audit.middleware.OriginMiddleware",
]  # fmt: skip
# What a journey of a person and an operator does not come by.
OF_THE_HOUSE = {
    SecurityKind.RETENTION_APPLIED, SecurityKind.BACKUP_MADE, SecurityKind.BACKUP_RESTORED,
    SecurityKind.DRILL_RUN, SecurityKind.KEYS_ROTATED, SecurityKind.PERSON_ERASED,
    SecurityKind.ERASURES_REPLAYED,
}  # fmt: skip


class Words:
    """A word for each place, made when it is first asked for."""

    def __init__(self) -> None:
        self.of: dict[str, str] = {}

    def __getitem__(self, place: str) -> str:
        """It is a good name of anything: letters and digits, and nothing that a rule masks."""
        if place not in self.of:
            digest = hashlib.sha256(place.encode()).hexdigest()
            self.of[place] = f"zq{re.sub('[^a-z]', '', place)[:12]}{digest[:8]}"
        return self.of[place]


WORDS = Words()
SECRET = "ghp_" + hashlib.sha256(b"secret").hexdigest()[:36]
PASSWORD = f"{WORDS['right password']} Battery-9"
REASON = f"Ticket of {WORDS['the reason']}"
KEPT = {"the reason"}


def disguises(word: str) -> Iterator[str]:
    """The word as a program might keep it, in lower case."""
    raw = word.encode()
    yield word.lower()
    yield word[::-1].lower()
    yield raw.hex()
    for algorithm in ("md5", "sha1", "sha256"):
        digest = hashlib.new(algorithm, raw, usedforsecurity=False).digest()
        yield digest.hex()
        yield base64.b64encode(digest).decode().rstrip("=").lower()
    for offset in range(3):
        # What stands before it moves its bits; its outermost letters mix with what is around it.
        yield base64.b64encode(b"-" * offset + raw).decode()[4:-4].lower()


def found_in(text: str, places: Iterable[str]) -> set[str]:
    """The places whose word, or its disguise, is in the text."""
    text = text.lower()
    return {place for place in places if any(form in text for form in disguises(WORDS[place]))}


def dump(*, of_stream: bool) -> str:
    """Every row of the stream's tables as text, or of all the others. Origins are for neither."""
    with connect_as_superuser() as connection:
        tables = connection.execute(
            "SELECT c.relname FROM pg_class c WHERE relnamespace = 'public'::regnamespace"
            " AND relkind IN ('r', 'p') AND NOT relispartition"
            " AND starts_with(relname, 'audit_') = %s AND relname <> 'audit_security_origin'",
            [of_stream],
        ).fetchall()
        assert ("audit_change_event",) in tables or not of_stream
        query = "SELECT coalesce(string_agg(t::text, chr(10)), '') FROM {} t"
        return "\n".join(
            str(row)
            for (name,) in tables
            for (row,) in connection.execute(
                sql.SQL(query).format(sql.Identifier(str(name)))
            ).fetchall()
        )


def exported() -> str:
    """Every line of the stream's files, also of those that were written on the way."""
    export_everything()
    with connect_as_superuser() as connection:
        names = connection.execute("SELECT stored_as FROM audit_export_batch").fetchall()
    assert len(names) >= 2
    texts = []
    for (name,) in names:
        with default_storage.open(str(name)) as file:
            texts.append(file.read().decode())
    return "\n".join(texts)


# --- The person's things ----------------------------------------------------------------------


def transcript_of(prefix: str) -> bytes:
    """A session with a word in every place that the format has for one."""
    word = {name: WORDS[f"{prefix} {name}"] for name in (
        "session", "key", "text", "answer", "project", "branch", "tool", "input", "title", "api",
        "result", "model", "line",
    )}  # fmt: skip
    common = {
        "sessionId": word["session"], "cwd": f"/home/{word['project']}",
        "gitBranch": word["branch"], "timestamp": "2026-03-01T10:00:00Z",
    }  # fmt: skip
    call = {
        "type": "tool_use", "id": "t1", "name": word["tool"],
        "input": {"command": f"{word['input']} {SECRET}"},
    }  # fmt: skip
    answer = {
        "role": "assistant", "id": word["api"], "model": word["model"],
        "content": [{"type": "text", "text": word["answer"]}, call],
    }  # fmt: skip
    result = {"type": "tool_result", "tool_use_id": "t1", "content": word["result"]}
    rows: list[dict[str, Any]] = [
        {"type": "custom-title", "customTitle": word["title"], "sessionId": word["session"]},
        {
            "type": "user", "uuid": word["key"], "parentUuid": None, **common,
            "message": {"role": "user", "content": f"{word['text']} {SECRET}"},
        },
        {
            "type": "assistant", "uuid": f"{word['key']}2", "parentUuid": word["key"], **common,
            "message": answer,
        },
        {
            "type": "user", "uuid": f"{word['key']}3", "parentUuid": f"{word['key']}2", **common,
            "message": {"role": "user", "content": [result]}, "toolUseResult": word["result"],
        },
        {"type": "summary", "summary": word["line"], "leafUuid": word["key"]},
    ]  # fmt: skip
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@dataclass(repr=False)
class Journey:
    folder: Path
    statuses: dict[tuple[str, str], int] = field(default_factory=dict)
    person: User = field(init=False)
    secret: str = field(init=False)
    browser: Client = field(init=False)
    keys: dict[str, UUID | str] = field(init=False)

    # --- Requests ---------------------------------------------------------------------------

    def headers(self, secret: str = "") -> dict[str, str]:
        """Words in every header that a client chooses."""
        chosen = {
            name: WORDS[f"header {name}"]
            for name in (
                "X-Request-ID", "Referer", "X-Forwarded-For", "Accept-Language", "Origin",
                "Idempotency-Key", "X-Whatever", "X-Correlation-ID", "Traceparent", "From",
            )
        }  # fmt: skip
        agent = {"User-Agent": f"Browser {WORDS['agent']}"}
        return chosen | agent | ({"Authorization": f"Bearer {secret}"} if secret else {})

    def ask(self, path: str, *, verb: str = "GET", secret: str = "", **more: Any) -> Any:
        answer = APIClient().generic(
            verb, path, more.pop("data", ""), headers=self.headers(secret), **more
        )
        if answer.streaming:
            b"".join(answer)
        return answer

    # --- Stages -----------------------------------------------------------------------------

    def make_accounts(self) -> None:
        self.person = User(
            username=WORDS["username"], metadata={WORDS["metadata name"]: WORDS["metadata"]}
        )
        self.person.set_password(PASSWORD)
        self.person.save()
        out = StringIO()
        call_command(
            "issue_token", self.person.username, name=WORDS["token name"], stdout=out,
            reason=REASON,
        )  # fmt: skip
        self.secret = out.getvalue().strip()
        with pytest.raises(CommandError):
            call_command("issue_token", WORDS["nobody's username"])
        create = ["create_operator", WORDS["operator's username"]]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.stdin", StringIO(f"{PASSWORD}\n"))
            call_command(*create, stdout=StringIO())

    def import_by_command(self) -> None:
        folder = self.folder / WORDS["folder"]
        folder.mkdir()
        (folder / f"{WORDS['command session']}.jsonl").write_bytes(transcript_of("command"))
        bad = folder / f"{WORDS['bad file']}.jsonl"
        bad.write_text(WORDS["bad line"])
        arguments = ["import_conversations", str(folder), "--owner", self.person.username]
        arguments += ["--reason", REASON]
        said = StringIO()
        call_command(*arguments, stdout=said, stderr=said)
        assert WORDS["bad file"] in said.getvalue()
        call_command(
            "export_conversations", "--owner", self.person.username, "--output",
            str(self.folder / WORDS["output"]), "--reveal-secrets", "--reason", REASON,
            stdout=StringIO(),
        )  # fmt: skip

    def upload(self, data: bytes, name: str, **fields: str) -> Any:
        file = BytesIO(data)
        file.name = name
        headers = self.headers(self.secret) | {
            "Idempotency-Key": WORDS[f"key of {name} {sorted(fields)}"]
        }
        return APIClient().post(
            f"/api/v1/imports/?note={WORDS['query of an upload']}",
            {"file": file, WORDS["unknown field"]: WORDS["unknown value"], **fields},
            format="multipart", headers=headers,
        )  # fmt: skip

    def import_by_upload(self) -> None:
        name = f"{WORDS['upload session']}.jsonl"
        plain = transcript_of("upload")
        assert self.upload(plain, name).status_code == 202
        odd = WORDS["odd bytes"].encode()
        assert self.upload(odd, f"{WORDS['odd file']}.jsonl").status_code == 422
        assert self.upload(plain, name, source=WORDS["source"]).status_code == 400
        deliver()
        named = json.dumps([{"role": "user", "content": WORDS["unkeyed text"]}]).encode()
        wanted = {"source": "openai", "conversation": WORDS["conversation wanted"]}
        assert self.upload(named, f"{WORDS['unkeyed file']}.json", **wanted).status_code == 202
        deliver()
        lost = f"{WORDS['lost file']}.jsonl"
        assert self.upload(transcript_of("lost"), lost).status_code == 202
        self.lose_the_last_file()
        deliver()
        with acting_as(self.person.pk):
            statuses = Import.objects.order_by("id").values_list("status", flat=True)
            assert list(statuses) == ["completed", "completed", "completed", "failed"]
            whole = Conversation.objects.get(native_key=WORDS["upload session"])
            self.keys = {
                "imports": Import.objects.get(name=name).pk,
                "conversations": whole.pk,
                "messages": Message.objects.filter(conversation=whole).earliest("id").pk,
            }

    def go_through_the_doors(self) -> None:
        """Somebody signs up, logs in and proves it in every way, and is guessed at."""
        address = f"{WORDS['address']}@example.org"
        phone = Phone(WORDS["device name"])
        names = {name: WORDS[name] for name in ("full_name", "given_name", "family_name")}
        assert phone.sign_up(address, **names).status_code == 401
        assert phone.confirm().status_code == 200
        secret = turn_on(phone)
        more = {"email": f"{WORDS['second address']}@example.org"}
        assert phone.call("post", "account/email", more).status_code == 200
        code = {"key": code_in(deliver_mail()[-1])}
        assert phone.call("post", "auth/email/verify", code).status_code == 200
        change = {"current_password": PHONE_PASSWORD, "new_password": WORDS["new password"]}
        assert phone.call("post", "account/password/change", change).status_code == 200
        asking = Phone(WORDS["forgetful device"])
        asking.call("post", "auth/password/request", {"email": address})
        reset = {"key": code_in(deliver_mail()[-1]), "password": WORDS["reset password"]}
        assert asking.call("post", "auth/password/reset", reset).status_code == 401
        tablet = Phone(WORDS["tablet"])
        tablet.log_in(address, WORDS["reset password"])
        assert tablet.call("post", "auth/2fa/authenticate", {"code": "000000"}).status_code == 400
        code = {"code": totp(secret, 1)}
        assert tablet.call("post", "auth/2fa/authenticate", code).status_code == 200
        erasure = "/api/v1/account/erasure/"
        asked = tablet.call("post", erasure, {"confirmation": "DELETE_ALL_MY_DATA"})
        assert asked.status_code == 202, asked.content
        back = Phone().call("post", f"{erasure}cancel/", {"token": asked.json()["token"]})
        assert back.status_code in {200, 204}
        deliver_mail()
        other = registered(WORDS["other device"], f"{WORDS['other address']}@example.org")
        first = other.refresh_token
        other.refresh()
        other.refresh()
        assert Phone(refresh_token=first).refresh().status_code == 400
        guesses = [Phone().log_in(address, WORDS["guess"]).status_code for _ in range(6)]
        assert guesses == [400] * 5 + [429]
        # Of mails, which were delivered.
        empty_queue()

    def use_the_account(self) -> None:
        """What a person keeps, makes and holds."""
        login = logged_in_client_of(self.person)
        headers = self.headers().items()
        login.credentials(
            **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers}
        )
        self.keep_preferences(login)
        self.make_token(login)
        self.hold_a_key(login)
        self.agree_and_subscribe(login)
        self.use_privacy_rights(login)

    def keep_preferences(self, login: APIClient) -> None:
        path = "/api/v1/preferences/"
        told = {WORDS["preference member"]: WORDS["preference"]}
        kept = {"theme": 1, WORDS["preference name"]: told}
        assert login.patch(path, kept).status_code == 200
        assert login.put(f"{path}theme/", {"value": told}).status_code == 200
        bad = {WORDS["bad preference name"].upper(): WORDS["bad preference"]}
        assert login.patch(path, bad).status_code == 400
        self.keys["preferences"] = "theme"
        self.keys["sessions"] = keep_session(self.person).pk

    def make_token(self, login: APIClient) -> None:
        ends = timezone.now() + timedelta(days=1)
        asked = {"name": WORDS["own token name"], "scopes": ["account:read"], "expires_at": ends}
        made = login.post("/api/v1/tokens/", asked)
        assert made.status_code == 201
        self.keys["tokens"] = made.json()["id"]
        bad = {"name": WORDS["bad token name"], "scopes": [WORDS["bad scope"]]}
        assert login.post("/api/v1/tokens/", bad).status_code == 400

    def hold_a_key(self, login: APIClient) -> None:
        path, device = "/api/v1/biometrics/", Device(WORDS["device id"])
        bad = device.announcement(kind=WORDS["bad kind"], public_key=WORDS["bad key"])
        assert login.post(path, bad).status_code == 400
        key_id = device.register(login, label=WORDS["device label"])
        for status, signer, change in (
            (200, device, {}),
            (401, Device(WORDS["device id"]), {}),
            (403, device, {"device_id": WORDS["another device id"]}),
            (400, device, {"signature": WORDS["signature"] * 3}),
        ):
            asked = login.post(f"{path}{key_id}/challenge/").json()
            sent = signer.answer(key_id, asked, **change)
            assert login.post(f"{path}{key_id}/verify/", sent).status_code == status
        self.keys["biometrics"] = key_id

    def agree_and_subscribe(self, login: APIClient) -> None:
        consents, subscription = "/api/v1/consents/", "/api/v1/subscription/"
        start_free_subscription(user_id=self.person.pk)
        agreed = {
            "consents": [{"type": kind, "version": 1} for kind in ConsentType.values],
            WORDS["consent member"]: WORDS["consent value"],
        }
        assert login.post(consents, agreed).status_code == 200
        assert login.post(f"{consents}withdraw/", {"type": WORDS["bad consent"]}).status_code == 400
        bad = {"provider": "local", "receipt": WORDS["bad receipt"]}
        assert login.post(f"{subscription}receipts/", bad).status_code == 400
        bought = purchase_of(self.person, WORDS["purchase id"])
        receipt = {"provider": "local", "receipt": local_store().sign_receipt(bought)}
        assert login.post(f"{subscription}receipts/", receipt).status_code == 200
        renewed = purchase_of(None, WORDS["purchase id"])
        unknown = purchase_of(None, WORDS["purchase of nobody"])
        for purchase in (renewed, unknown):
            told = local_store().sign_notification(
                purchase, notification_id=WORDS[f"message about {purchase is renewed}"]
            )
            answer = APIClient().post(
                f"{subscription}notifications/local/", told, headers=self.headers()
            )
            assert answer.status_code == 200
        withdrawn = {"type": ConsentType.values[0]}
        assert login.post(f"{consents}withdraw/", withdrawn).status_code == 200

    def use_privacy_rights(self, login: APIClient) -> None:
        account = "/api/v1/account/"
        export = login.post(f"{account}exports/", {WORDS["export name"]: WORDS["export"]}).json()
        run_export(UUID(export["id"]), self.person.pk)
        link = login.post(f"{account}exports/{export['id']}/download-link/").json()
        taken = APIClient().get(urlsplit(link["url"]).path, headers=self.headers())
        assert taken.status_code == 200
        b"".join(taken)
        self.keys["account"] = export["id"]
        bad = {"confirmation": WORDS["bad confirmation"]}
        assert login.post(f"{account}erasure/", bad).status_code == 400
        for door in ("cancel", "receipt"):
            told = {"token": WORDS[f"token to {door}"]}
            answer = APIClient().post(f"{account}erasure/{door}/", told, headers=self.headers())
            assert answer.status_code == 404
        path = f"{account}exports/download/{WORDS['token of a link']}/"
        assert APIClient().get(path, headers=self.headers()).status_code == 404

    def lose_the_last_file(self) -> None:
        with acting_as(self.person.pk):
            default_storage.delete(Import.objects.latest("id").artifact.stored_as)

    def visit_every_route(self) -> None:
        query = "&".join(
            f"{name}={WORDS[f'query {name}']}"
            for name in ("project", "parent_key", "title", "tool", "subject", "next", "whatever")
        )
        body = json.dumps({WORDS["body name"]: WORDS["body"]})
        for route, (verbs, (expected, *_)) in sorted(ROUTES.items()):
            path = self.path_of(route)
            asked = f"q={WORDS['upload text']}&" if route == "api/v1/messages/" else ""
            for verb in VERBS:
                if verb in verbs - READ:
                    continue
                answer = self.ask(
                    f"{path}?{asked}note={WORDS['query note']}", verb=verb, secret=self.secret,
                    data=body, content_type="application/json",
                )  # fmt: skip
                self.statuses[route, verb] = answer.status_code
                allowed = (200 if verb == "OPTIONS" else expected) if verb in verbs else 405
                assert answer.status_code == allowed, (verb, path, answer.content)
                for more in (query, f"q={WORDS['query q']}&{query}"):
                    assert self.ask(f"{path}?{more}", verb=verb).status_code < 500
                    found = self.ask(f"{path}?{more}", verb=verb, secret=self.secret)
                    assert found.status_code < 500
                for bad in ("secrets", "kind", "operation", "row_id", "cursor", "source", "format"):
                    self.ask(f"{path}?{bad}={WORDS[f'bad {bad}']}", verb=verb, secret=self.secret)
            shown = self.ask(f"{path}?{asked}secrets=shown", secret=self.secret)
            assert shown.status_code == (expected if "GET" in verbs else 405)
            wrong = re.sub("<(pk|key)>", WORDS["path segment"], route)
            self.ask(f"/{wrong}?secrets=shown", secret=self.secret)
            self.ask(f"/{wrong}?secrets=shown", verb="OPTIONS", secret=self.secret)
        for route in OF_MACHINES:
            assert self.ask(f"/{route}", secret=self.secret).status_code == 401
        for path in ("/", "/api/v1/", "/api/v1/messages/", "/static/"):
            assert self.ask(f"{path}{WORDS['path']}/", secret=self.secret).status_code == 404

    def write_to_every_route(self) -> None:
        """With words that fit nowhere, and with a token for each: some end all tokens."""
        body = json.dumps({WORDS["written name"]: WORDS["written"]})
        for route, (verbs, _) in sorted(ROUTES.items()):
            # What is deleted was put there before.
            for verb in sorted(verbs - READ, reverse=True):
                answer = self.ask(
                    f"{self.path_of(route)}?note={WORDS['query of a write']}", verb=verb,
                    secret=issue_token(user=self.person, name=WORDS["token of a write"]),
                    data=body, content_type="application/json",
                )  # fmt: skip
                self.statuses[route, verb] = answer.status_code
        self.secret = issue_token(user=self.person, name=WORDS["token after the writes"])

    def path_of(self, route: str) -> str:
        resource = route.removeprefix("api/v1/").partition("/")[0]
        return "/" + re.sub("<(pk|key)>", str(self.keys.get(resource, "")), route)

    def be_refused(self) -> None:
        account = "/api/v1/account/"
        assert self.ask(account, secret=f"cp_{WORDS['never a token']}").status_code == 401
        narrow = issue_token(
            user=self.person, name=WORDS["narrow token"], scopes=[Scope.ARCHIVES_READ]
        )
        assert self.ask(account, secret=narrow).status_code == 403
        with acting_as(self.person.pk):
            revoke_tokens(token_ids=[PersonalAccessToken.objects.latest("id").pk])
        assert self.ask(account, secret=narrow).status_code == 401

    def follow_live(self) -> None:
        with override_settings(ROOT_URLCONF="config.live_urls", MIDDLEWARE=LIVE_MIDDLEWARE):
            for route in sorted(LIVE_ROUTES):
                path = "/" + route.replace("<import_id>", str(self.keys["imports"]))
                for verb in VERBS:
                    status = asyncio.run(self.follow(f"{path}?q={WORDS['live query']}", verb))
                    # A stream has no head.
                    shown = {"GET"} if route.endswith("events/") else {"GET", "HEAD"}
                    assert status == (200 if verb in shown else 405), (verb, route)
                asyncio.run(self.follow(f"/{route}{WORDS['live path']}", "GET"))

    async def follow(self, path: str, verb: str) -> int:
        client = AsyncClient()
        answer = await client.generic(verb, path, headers=self.headers(self.secret))
        if answer.streaming:
            async for _ in answer.streaming_content:  # type: ignore[attr-defined]  # of a stream
                pass
        return int(answer.status_code)

    # --- The admin --------------------------------------------------------------------------

    def log_in(self) -> None:
        self.browser = Client(headers=self.headers(), raise_request_exception=False)
        login = f"{reverse('admin:login')}?next=/admin/{WORDS['next of the login']}/"
        wrong = {
            WORDS["wrong name"]: PASSWORD,
            WORDS["operator's username"]: WORDS["wrong password"],
            WORDS["password typed as the name"]: "",
            PASSWORD: WORDS["operator's username"],
            self.person.username: PASSWORD,
        }
        for username, password in wrong.items():
            answer = self.browser.post(login, {"username": username, "password": password})
            assert answer.status_code == 200
        right = {"username": WORDS["operator's username"], "password": PASSWORD}
        assert self.browser.post(login, right).status_code == 302

    def visit_the_admin(self, status_of_pages: int) -> None:
        """Every page, with words in its query and in a form that nobody asked for."""
        query = f"?q={WORDS['admin q']}&{WORDS['admin parameter']}={WORDS['admin value']}"
        form = {
            name: WORDS[f"field {name}"]
            for name in (
                "username", "role", "account_status", "metadata", "name", "title", "project",
                "action", "_selected_action", "native_key", "post", "reason", "list_editable",
            )
        }  # fmt: skip
        for page in PAGES:
            address = address_of(page)
            for asked in (address, f"{address.partition('?')[0]}{query}"):
                self.browser.get(asked)
            gone = self.browser.post(f"{address.partition('?')[0]}{query}", form).status_code
            if status_of_pages == 403:
                assert gone == 403, page
            self.browser.get(f"{address.partition('?')[0]}{WORDS['admin path']}/")
        for model in MODELS:
            listed = reverse(f"admin:{model}_changelist")
            for parameter in ("owner", "conversation", "secrets", "merged", "o", "p", "e"):
                self.browser.get(f"{listed}?{parameter}={WORDS['admin filter']}")
            self.browser.get(reverse(f"admin:{model}_change", args=[WORDS["admin key"]]))
            self.statuses[model, "list"] = self.browser.get(listed).status_code
            self.statuses[model, "form"] = self.browser.get(
                address_of(f"{model}_change")
            ).status_code
        self.browser.get(
            f"{reverse('admin:autocomplete')}?app_label={WORDS['app label']}"
            f"&model_name={WORDS['model name']}&field_name=user&term={WORDS['term']}"
        )
        self.browser.get(
            f"{reverse('admin:autocomplete')}?app_label=accounts&model_name=personalaccesstoken"
            f"&field_name=user&term={WORDS['username']}"
        )
        self.browser.get(f"/admin/{WORDS['admin segment']}/{WORDS['admin segment 2']}/?q=1")

    def give_a_reason(self) -> None:
        page = f"{reverse('admin:reason')}?next=/admin/{WORDS['next of the reason']}/"
        short = {"reason": f"{WORDS['a refused reason']}\0", "next": WORDS["next field"]}
        assert self.browser.post(page, short).status_code == 200
        assert self.browser.post(page, {"reason": REASON}).status_code == 302

    def act(self) -> None:
        with as_operator("test"):
            failed = Import.objects.get(status="failed").pk
            tokens = [str(token.pk) for token in PersonalAccessToken.objects.all()]
        again = {"action": "read_again", "_selected_action": [str(failed)]}
        chosen = {"action": "revoke", "_selected_action": tokens}
        odd = {"action": WORDS["an action"], "_selected_action": tokens}
        keys = {"action": "revoke", "_selected_action": [self.keys["biometrics"]]}
        for model, form in (
            ("dedup_import", odd), ("dedup_import", again),
            ("accounts_personalaccesstoken", odd), ("accounts_personalaccesstoken", chosen),
            ("accounts_biometrickey", keys),
        ):  # fmt: skip
            answer = self.browser.post(reverse(f"admin:{model}_changelist"), form)
            assert answer.status_code == 302
        deliver()
        answer = self.browser.post(
            reverse("admin:accounts_user_change", args=[self.person.pk]),
            {"role": "user", "account_status": "suspended", "username": WORDS["another name"]},
        )
        assert answer.status_code == 302
        change = {
            "old_password": PASSWORD, "new_password1": WORDS["new password"],
            "new_password2": WORDS["other password"],
        }  # fmt: skip
        assert self.browser.post(reverse("admin:password_change"), change).status_code == 200
        assert self.browser.post(reverse("admin:logout")).status_code == 200


def deliver() -> None:
    """Hand each message in the queue to the task, as a worker does."""
    messages = queued_messages()
    empty_queue()
    assert messages
    for message in messages:
        headers = {name: message[name] for name in (ACTOR_HEADER, REQUEST_HEADER)}
        read_import.apply(args=(message["argsrepr"].strip("(),'"),), headers=headers, throw=True)


@pytest.fixture
def journey(tmp_path: Path) -> Iterator[Journey]:
    """Everything has been done that can be done."""
    WORDS.of = {place: word for place, word in WORDS.of.items() if place in EARLY}
    empty_queue()
    journey = Journey(tmp_path)
    journey.make_accounts()
    journey.import_by_command()
    journey.import_by_upload()
    journey.go_through_the_doors()
    journey.use_the_account()
    journey.visit_every_route()
    journey.write_to_every_route()
    journey.be_refused()
    journey.follow_live()
    export_everything()
    journey.log_in()
    journey.visit_the_admin(403)
    journey.give_a_reason()
    journey.visit_the_admin(200)
    journey.act()
    yield journey
    empty_queue()


# Made before any test, since they are parts of constants.
EARLY = set(WORDS.of)


def test_after_a_journey_through_everything_no_word_is_in_the_stream(journey: Journey) -> None:
    prove_that_it_went_everywhere(journey)

    files, tables = exported(), dump(of_stream=True)

    assert len(WORDS.of) > 120
    assert found_in(tables, WORDS.of) == KEPT
    assert found_in(files, WORDS.of) == KEPT
    assert SECRET.lower() not in (tables + files).lower()
    assert journey.secret.lower() not in (tables + files).lower()
    assert journey.secret[:9] not in tables + files
    # The client's program stands where it is meant to, and is the one word there.
    assert found_in(str(origins()), WORDS.of) == {"agent"}


def prove_that_it_went_everywhere(journey: Journey) -> None:
    """The words were in reach: in the tables around the stream, and in what each route was sent."""
    around = found_in(dump(of_stream=False), WORDS.of)
    assert {
        "username", "metadata", "token name", "operator's username", "folder",
        "conversation wanted", "preference", "preference name", "own token name", "device id",
        "upload session", "upload text", "upload title", "upload project", "upload tool",
        "upload input", "upload key", "command text", "unkeyed text", "lost file",
    } <= around  # fmt: skip
    assert not {"device label", "purchase id"} & around
    assert {route for route, _ in journey.statuses} == set(ROUTES) | set(MODELS)
    # Each was reached, by somebody who is known.
    assert max(journey.statuses.values()) < 500
    assert {where for where, status in journey.statuses.items() if status in {401, 404}} == {
        # Of stores that are not configured.
        (f"api/v1/subscription/notifications/{store}/", "POST")
        for store in ("apple", "google")
    } | {
        # What was never asked for, and a link that there never was.
        ("api/v1/account/erasure/", "GET"), ("api/v1/account/erasure/", "HEAD"),
        ("api/v1/account/exports/download/<token>/", "GET"),
    }  # fmt: skip
    assert {
        verb for (model, verb), status in journey.statuses.items()
        if model in MODELS and status == 200
    } == {"list", "form"}  # fmt: skip
    assert {row["kind"] for row in security()} == set(SecurityKind) - OF_THE_HOUSE
    captured = {row["table_name"] for row in changes()}
    assert captured == tables_that_report()
    assert {row["name"] for row in changes()} >= {
        "user-registration", "profile-change", "import-requested", "import-completed",
        "import-failed", "conversation-found", "accounts-personalaccesstoken-changed",
        "biometric-key-registered", "biometric-key-revoked", "consent-given", "consent-withdrawn",
        "subscription-change", "subscription-conversion", "subscription-cancellation",
    }  # fmt: skip
    looks = [row for row in security("operator_looked") if row["user_id"] == journey.person.pk]
    assert {row["reason"] for row in looks} == {REASON}


def tables_that_report() -> set[str]:
    with connect_as_superuser() as connection:
        found = connection.execute(
            "SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = 'capture'"
        ).fetchall()
    return {str(name) for (name,) in found}


def test_the_search_finds_a_word_however_it_is_disguised() -> None:
    word = WORDS["username"]
    for text in (
        f"so {word.upper()} it is",
        word.encode().hex(),
        base64.b64encode(f"a {word} b".encode()).decode(),
        base64.b64encode(f"ab {word} b".encode()).decode(),
        base64.b64encode(f"abc {word}".encode()).decode(),
        hashlib.sha256(word.encode()).hexdigest(),
    ):
        assert found_in(text, ["username"]) == {"username"}, text
    assert found_in("nothing", WORDS.of) == set()


# --- What is captured cannot be words ---------------------------------------------------------

WORDLESS = {
    "uuid", "integer", "bigint", "smallint", "boolean", "timestamp with time zone", "numeric",
    "date", "double precision",
}  # fmt: skip
# Text that no constraint closes: codes of our errors, which no person writes.
CODES = {("dedup_import", "error_code"), ("accounts_datakey", "key_id")}


def captured_columns() -> list[tuple[str, str, str]]:
    """Table, column and type of every value that an event keeps, as the functions are written."""
    with connect_as_superuser() as connection:
        functions = connection.execute(
            "SELECT t.tgrelid::regclass::text, p.prosrc FROM pg_trigger t"
            " JOIN pg_proc p ON p.oid = t.tgfoid WHERE t.tgname = 'capture'"
        ).fetchall()
        types = connection.execute(
            "SELECT table_name, column_name, data_type FROM information_schema.columns"
            " WHERE table_schema = 'public'"
        ).fetchall()
    kinds = {(table, column): str(kind) for table, column, kind in types}
    return [
        (str(table), column, kinds[table, column])
        for table, source in functions
        for column in sorted(set(re.findall(r"'(\w+)', (?:OLD|NEW)\.\1", str(source))))
    ]


def test_what_is_kept_of_a_row_is_of_a_type_or_a_set_that_holds_no_words() -> None:
    columns = captured_columns()
    with connect_as_superuser() as connection:
        checks = connection.execute(
            "SELECT conrelid::regclass::text, a.attname FROM pg_constraint c"
            " JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)"
            " WHERE contype = 'c' AND pg_get_constraintdef(c.oid) ~ '(ANY \\(|<@)'"
        ).fetchall()

    wordy = {(table, column) for table, column, kind in columns if kind not in WORDLESS}

    assert len(columns) > 35
    assert wordy == (wordy & set(checks)) | CODES
