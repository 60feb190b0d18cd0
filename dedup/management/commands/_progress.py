"""The progress bar of a run over many files, on standard error."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from dedup.exports import Export, size_of


@contextmanager
def progress_bar(exports: Sequence[Export]) -> Iterator[Callable[[int, int | None], None]]:
    """Gives what is to be told how many bytes of a file, by its number, are read; None for all."""
    sizes = [size_of(export.path) for export in exports]
    done = [0] * len(exports)
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        # In a log file it would leave an empty line.
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task("", total=sum(sizes))

        def hear(number: int, size: int | None) -> None:
            read = sizes[number] if size is None else min(size, sizes[number])
            name = escape(exports[number].path.name)
            bar.update(task, description=name, advance=read - done[number])
            done[number] = read

        yield hear
