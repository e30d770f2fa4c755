"""Where Python looks for modules: never in the folder in which a command is given.

That folder may be a stranger's, and a `queue.py` in it is a file like any other. Python itself puts
it on the path of `python -m`, of every child that multiprocessing starts, and, through Ray, of
every worker. This module imports only what Python has loaded before it looks at that folder, so it
has no `from __future__` line.
"""

import os
import sys

SAFE = "PYTHONSAFEPATH"
"""A Python that finds this in its environment adds no folder of its own to its import path."""
_PATH = "PYTHONPATH"


def leave_working_folder() -> None:
    """Take the working folder off the import path of this process and of all its children.

    Only a command may call this: a program that imports improv decides about its own path.
    """
    if starting_with_m() and not sys.flags.safe_path:
        del sys.path[0]  # the working folder
    named = os.environ.get(_PATH)
    own = named.split(os.pathsep) if named else []
    # Python has made the places of PYTHONPATH absolute, "" and "." too.
    there = {os.path.abspath(place) for place in own if not os.path.isabs(place)} - {*own, home()}
    sys.path[:] = [place for place in _absolute(sys.path) if place not in there]
    if home() not in sys.path:
        sys.path.append(home())
    os.environ.update(child_environment())


def starting_with_m() -> bool:
    """Whether Python is about to run a program of this package as `python -m improv.cli`. It looks
    for the program with the working folder first on the path."""
    named = any(word.startswith(("improv.", "-mimprov.")) for word in sys.orig_argv)
    return named and sys.argv[:1] == ["-m"]  # its name takes this place once it is found


def child_environment() -> dict[str, str]:
    """Return the environment for a child that is a Python program: it finds this improv, and
    nothing in its working folder."""
    path = _absolute(os.environ.get(_PATH, "").split(os.pathsep))
    path += [place for place in added_path() if place not in path]
    return os.environ | {SAFE: "1", _PATH: os.pathsep.join(path)}


def added_path() -> list[str]:
    """Return what another Python of this installation may need on its path to find improv."""
    # An installed package is found without help, and its folder must not come before Python's own.
    return [] if os.path.basename(home()) in ("site-packages", "dist-packages") else [home()]


def home() -> str:
    """Return the folder that holds the package improv."""
    return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def python(*words: str) -> list[str]:
    """Return the command line of a Python program that a child runs: `-m`, a module, its words."""
    return [sys.executable, "-P", *words]


def _absolute(path: list[str]) -> list[str]:
    """Leave out what is relative to the working folder; the empty string is that folder itself."""
    return [place for place in path if os.path.isabs(place)]
