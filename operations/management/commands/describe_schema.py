import tempfile
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from operations.schema_documentation import describe_schema

READABLE_BY_ALL = 0o644


class Command(BaseCommand):
    help = "Describe every table in Markdown, from the models; asks no database."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--output", type=Path, metavar="FILE", help="a file to replace; standard output if none"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        text = describe_schema()
        if options["output"] is None:
            self.stdout.write(text, ending="")
            return
        try:
            _replace(options["output"], text)
        except OSError as error:
            raise CommandError(
                f"{options['output']} cannot be written: {error.strerror}."
            ) from error


def _replace(path: Path, text: str) -> None:
    """In one step: whoever reads the file meanwhile has the whole old one."""
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.parent, prefix=".", delete=False
    ) as file:
        written = Path(file.name)
        try:
            file.write(text)
            file.flush()
            written.chmod(READABLE_BY_ALL)
            written.replace(path)
        except OSError:
            written.unlink(missing_ok=True)
            raise
