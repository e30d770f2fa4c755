"""The console that all commands print on, and the classes of the commands themselves.

Rich adds colours, bars and tables; here the text between them is cleaned, and no text is read as
Rich's markup. improv.output cleans what is printed without a console.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import IO, Any, Protocol, TypeVar

import typer.core
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from improv.output import cleaned_output, own_words, raw_stream
from improv.text import visible


class CleanConsole(Console):
    """A console of clean text; its colours and cursor movements are the program's own."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(visible(segment.text), segment.style)

    @property
    def file(self) -> IO[str]:
        # The text is clean already, and the wrapper would remove the colours too.
        return raw_stream(super().file)

    @file.setter
    def file(self, new_file: IO[str]) -> None:
        self._file = new_file


class CleanCommand(typer.core.TyperCommand):
    """A command whose help has colours: help is text of the program."""

    def format_help(self, *arguments: Any) -> None:
        with own_words():
            super().format_help(*arguments)


class CleanGroup(typer.core.TyperGroup):
    """The commands together. All that they print is clean, usage errors of Typer's too."""

    def format_help(self, *arguments: Any) -> None:
        with own_words():
            super().format_help(*arguments)

    def main(self, *arguments: Any, **options: Any) -> Any:
        with cleaned_output():
            return super().main(*arguments, **options)


_Function = TypeVar("_Function", bound=Callable[..., Any])


class _Decorator(Protocol):
    def __call__(self, function: _Function, /) -> _Function: ...


class App(typer.Typer):
    """A Typer app whose commands are clean ones."""

    def command(self, name: str | None = None, **options: Any) -> _Decorator:
        return super().command(name, **{"cls": CleanCommand} | options)
