"""A clock that can be moved, for the drivers of a storm only.

A time namespace cannot move the time of day, and the machine's clock belongs to everybody. So a
few lines of C are put before the C library with LD_PRELOAD, and add an offset from a file to the
time of day. Nothing of improv is patched. Where there is no C compiler, clocks are not moved.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile long long *offset;
static int (*real)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("STORM_CLOCK");
    int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    real = dlsym(RTLD_NEXT, "clock_gettime");
    if (file >= 0) {
        void *page = mmap(0, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
        if (page != MAP_FAILED) offset = page;
        close(file);
    }
}

int clock_gettime(clockid_t id, struct timespec *at) {
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int code = real(id, at);
    if (!code && offset && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        at->tv_sec += *offset;
    return code;
}

int gettimeofday(struct timeval *at, void *zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""


class Clock:
    """The time of day of the drivers. `works` says whether it can be moved here."""

    def __init__(self, home: Path) -> None:
        self._library = home / "clock.so"
        self._file = home / "clock"
        self._file.write_bytes(bytes(8))
        source = home / "clock.c"
        source.write_text(_SOURCE)
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        self.works = False
        if compiler is not None:
            command = [compiler, "-shared", "-fPIC", "-O1", "-o"]
            command += [str(self._library), str(source), "-ldl"]
            self.works = subprocess.run(command, capture_output=True).returncode == 0

    @contextlib.contextmanager
    def worn(self) -> Iterator[None]:
        """Give this clock to processes that are started in this block."""
        names = {"LD_PRELOAD": str(self._library), "STORM_CLOCK": str(self._file)}
        names = names if self.works else {}
        before = {name: os.environ.get(name) for name in names}
        os.environ.update(names)
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})

    def move(self, seconds: int) -> None:
        """Let the clock be so many seconds ahead of the machine's, behind if negative."""
        with self._file.open("r+b") as file, mmap.mmap(file.fileno(), 8) as page:
            page[:] = struct.pack("q", seconds)
