#!/usr/bin/env python
"""Django's command line, which also brings up the embedded services that a command needs."""

import os
import sys
from contextlib import nullcontext
from pathlib import Path

VENV_PYTHON = Path(__file__).resolve().parent / ".venv" / "bin" / "python"

# These need no database: they must also work where none can be started.
WITHOUT_SERVICES = {
    "help",
    "version",
    "--help",
    "--version",
    "-h",
    "check",
    "collectstatic",
    "describe_schema",
    "spectacular",
}


def use_project_interpreter() -> None:
    """Go on under the project's virtual environment when called by another Python."""
    if VENV_PYTHON.exists() and Path(sys.prefix) != VENV_PYTHON.parent.parent:
        os.execv(  # noqa: S606 - our own interpreter, without a shell
            VENV_PYTHON, [str(VENV_PYTHON), *sys.argv]
        )


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        from django.core.management import execute_from_command_line
    except ImportError:
        use_project_interpreter()
        sys.exit("Django is not installed here. Run `make install` first.")

    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured

    from embedded import EmbeddedServiceError

    command = sys.argv[1] if len(sys.argv) > 1 else "help"
    try:
        services = None if command in WITHOUT_SERVICES else settings.SERVICES
        with services.in_use() if services else nullcontext():
            execute_from_command_line(sys.argv)
    except (EmbeddedServiceError, ImproperlyConfigured) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
