"""The one way out to a terminal or a log: no control character of somebody else passes.

What is printed comes from models, files and addresses as well. A character that moves the cursor,
sets a title, hides text or turns its direction must not reach whoever reads it. So the standard
streams of a process that prints are wrapped, and the wrapper cleans every text, whoever writes it:
a command, a warning, a library, a traceback. The colours of the program are added behind it, by
improv.cli.console.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any, TextIO, cast

from improv.text import visible


class CleanStream:
    """A text stream that removes what is invisible but has an effect, and passes the rest on.

    `raw` is the stream behind it. There is no `buffer`: bytes would pass it uncleaned. A character
    that the stream's encoding does not have is written as its code.
    """

    def __init__(self, raw: IO[str]) -> None:
        self.raw = raw
        if reconfigure := getattr(raw, "reconfigure", None):
            reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        self.raw.write(visible(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        if name in ("buffer", "detach", "raw"):
            raise AttributeError(f"a stream that is cleaned has no {name!r}")
        return getattr(self.raw, name)


def raw_stream(stream: IO[str]) -> IO[str]:
    """Return the stream behind a clean one, or `stream` itself."""
    return stream.raw if isinstance(stream, CleanStream) else stream


def clean_output() -> None:
    """Clean everything that this process writes to its standard streams from now on."""
    for name in ("stdout", "stderr", "__stdout__", "__stderr__"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, CleanStream):
            setattr(sys, name, CleanStream(stream))


@contextmanager
def cleaned_output() -> Iterator[None]:
    """Clean what this process writes to its standard streams inside the `with`."""
    before = sys.stdout, sys.stderr
    try:
        clean_output()
        yield
    finally:
        sys.stdout, sys.stderr = before


@contextmanager
def own_words() -> Iterator[None]:
    """Let what is written inside the `with` pass as it is. Only for text of the program itself."""
    before = sys.stdout
    sys.stdout = cast(TextIO, raw_stream(before))
    try:
        yield
    finally:
        sys.stdout = before


def _clean_record(record: logging.LogRecord) -> bool:
    record.msg, record.args = visible(record.getMessage()), ()
    return True


def logger() -> logging.Logger:
    """Return improv's logger. Its messages are clean wherever a program sends them."""
    log = logging.getLogger("improv")
    log.addFilter(_clean_record)
    return log
