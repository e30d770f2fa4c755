"""Notices each Ctrl-C at once, and ends the program soon after the second one, whatever holds it.

Python calls a handler in the main thread, between two of its own instructions. So a long call into
C delays the handler, two signals that come meanwhile count as one, and a KeyboardInterrupt that is
raised in a callback of a library may be lost. The system's handler also writes each signal to a
socket, and a thread reads it there. What a run does at Ctrl-C is decided in the runner.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)
GRACE = 5.0
"""Seconds from the second Ctrl-C to the end of the program. What a run has paid for is in its
journal before that."""
_EXIT_CODE = 130


class _Watch:
    """The thread that reads the signals of this process, and the handlers that it calls."""

    def __init__(self) -> None:
        self._read, self._written = socket.socketpair()
        self._written.setblocking(False)
        self._lock = threading.Lock()
        self._count = 0
        self.missed = 0
        """Signals for which there was no handler."""
        self._handlers: list[Callable[[], object]] = []
        signal.set_wakeup_fd(self._written.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._run, name="improv-interrupts", daemon=True).start()

    def _run(self) -> None:
        while numbers := self._read.recv(64):
            for number in numbers:
                if number in SIGNALS:
                    self._notice()

    def _notice(self) -> None:
        with self._lock:
            self._count += 1
            self.missed += not self._handlers
            for handler in self._handlers[-1:]:
                handler()
            second = self._count == 2
        if second:
            timer = threading.Timer(GRACE, _end)
            timer.daemon = True
            timer.start()

    def add(self, handler: Callable[[], object]) -> None:
        """Call a handler at each signal; at once for each that came before and did not end the
        program."""
        with self._lock:
            self._handlers.append(handler)
            for _ in range(self._count):
                handler()

    def remove(self, handler: Callable[[], object]) -> None:
        with self._lock:
            self._handlers.remove(handler)


_watch: _Watch | None = None


def watch() -> None:
    """Watch the signals of this process until it ends. For the main thread of a program."""
    global _watch
    if _watch is None and threading.current_thread() is threading.main_thread():
        _watch = _Watch()
        signal.signal(signal.SIGINT, _Once())


def watched() -> bool:
    """Whether the signals are watched, and this thread may decide what they do."""
    return _watch is not None and threading.current_thread() is threading.main_thread()


@contextlib.contextmanager
def handled_by(handler: Callable[[], object]) -> Iterator[None]:
    """Let the watch call `handler`, in its thread, instead of the default effect of the signals."""
    assert _watch is not None
    before = {number: signal.signal(number, _nothing) for number in SIGNALS}
    _watch.add(handler)
    try:
        yield
    finally:
        _watch.remove(handler)
        for number, effect in before.items():
            signal.signal(number, signal.SIG_DFL if effect is None else effect)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Raise no KeyboardInterrupt in this block, but at its end if no handler was called."""
    assert _watch is not None
    missed, before = _watch.missed, signal.signal(signal.SIGINT, _nothing)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if _watch.missed > missed:
        raise KeyboardInterrupt


def ignore() -> None:
    """Let a Ctrl-C print no traceback while the program ends. The second one still ends it."""
    if watched():
        signal.signal(signal.SIGINT, _nothing)


class _Once:
    """Raises KeyboardInterrupt at the first Ctrl-C only. Another one would be raised in the middle
    of what the first one makes the program clean up."""

    def __init__(self) -> None:
        self._raised = False

    def __call__(self, *_: object) -> None:
        if not self._raised:
            self._raised = True
            raise KeyboardInterrupt


def _nothing(*_: object) -> None:
    """The watch has noticed the signal already."""


def _end() -> None:
    cursor = "\x1b[?25h" if sys.stderr.isatty() else ""  # a progress bar hides it
    message = (
        f"{cursor}ended {GRACE:g} s after the second Ctrl-C; `improv resume` continues a run\n"
    )
    with contextlib.suppress(OSError):
        os.write(2, message.encode())
    os._exit(_EXIT_CODE)


def _leave_to_parent() -> None:
    """In a fork: write no signal to the parent's socket, which would count it as its own."""
    global _watch
    if _watch is not None:
        _watch = None
        with contextlib.suppress(ValueError):
            signal.set_wakeup_fd(-1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
