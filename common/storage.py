"""What the storage's own interface does not promise."""

import os
from collections.abc import Iterator

from django.core.files.storage import default_storage


def make_durable(name: str) -> None:
    """The file survives a power cut: a row is about to say that it is kept."""
    try:
        path = default_storage.path(name)
    except NotImplementedError:
        # An object store answers only when it has it.
        return
    for place in (path, os.path.dirname(path)):  # noqa: PTH120 - a name of the storage's
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def names_below(folder: str) -> Iterator[str]:
    """The names of all files in the folder and in those below it, in order."""
    try:
        folders, files = default_storage.listdir(folder)
    except FileNotFoundError:
        return
    for name in sorted([*folders, *files]):
        inner = f"{folder}/{name}" if folder else name
        if name in files:
            yield inner
        if name in folders:
            yield from names_below(inner)
