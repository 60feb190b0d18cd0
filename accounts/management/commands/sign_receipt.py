import json
from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from accounts.choices import Plan, SubscriptionProvider
from accounts.services.users import find_user
from accounts.stores import local
from accounts.stores.contract import StorePurchase
from common.ids import uuid7
from common.management.reports import said_plainly

MOST_DAYS = 3650


class Command(BaseCommand):
    help = (
        "Print a receipt of the local store, for development: premium without paying. Refused"
        " where STORE_LOCAL is false, as it is in production."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--user", required=True, help="username of the buyer")
        parser.add_argument("--plan", choices=Plan.values, default=Plan.MONTHLY.value)
        parser.add_argument("--days", type=int, default=30, help="how long it is paid for")
        parser.add_argument("--purchase", help="id of an earlier one, to say what became of it")
        parser.add_argument("--no-renewal", action="store_true", help="it will not be renewed")
        parser.add_argument("--revoked", action="store_true", help="the money went back")
        parser.add_argument(
            "--notification", action="store_true", help="print the store's message instead"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        store = local.configured()
        if store is None:
            raise CommandError("The local store is switched off here (STORE_LOCAL=false).")
        if not 0 <= options["days"] <= MOST_DAYS:
            raise CommandError(f"--days must be between 0 and {MOST_DAYS}.")
        with said_plainly():
            user = find_user(options["user"])
        now = timezone.now()
        purchase = StorePurchase(
            provider=SubscriptionProvider.LOCAL,
            external_id=options["purchase"] or str(uuid7()),
            plan=Plan(options["plan"]),
            purchased_at=now,
            ends_at=now + timedelta(days=options["days"]),
            stated_at=now,
            renews=not options["no_renewal"],
            revoked=options["revoked"],
            account=user.pk,
        )
        if options["notification"]:
            self.stdout.write(json.dumps(store.sign_notification(purchase)))
        else:
            self.stdout.write(store.sign_receipt(purchase))
        self.stderr.write(f"The purchase is {purchase.external_id}.")
