"""What the storage's own interface does not promise."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from uuid import uuid4

from django.core.files import File
from django.core.files.storage import default_storage

DRAFTS = "drafts"


def place(name: str, file: IO[bytes]) -> bool:
    """Afterwards the file has the name, whole and for good; whoever looks before sees nothing.

    False, and nothing is kept, where the storage gave it another name. A kill leaves at most
    something in the folder of drafts.
    """
    try:
        path = Path(default_storage.path(name))
    except NotImplementedError:
        # An object store shows only what is whole.
        kept = default_storage.save(name, File(file))
        if kept != name:
            default_storage.delete(kept)
        return kept == name
    draft = default_storage.save(f"{DRAFTS}/{uuid4()}", File(file))
    make_durable(draft)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    Path(default_storage.path(draft)).replace(path)
    make_durable(name)
    return True


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
    # A bucket may name the folder itself, as a file without a name.
    kinds = {name: False for name in files if name} | dict.fromkeys(folders, True)
    for name, is_folder in sorted(kinds.items()):
        inner = f"{folder}/{name}" if folder else name
        if is_folder:
            yield from names_below(inner)
        else:
            yield inner
