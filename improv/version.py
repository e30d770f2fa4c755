"""Which program this is: its version, and digests of the parts of its code."""

from __future__ import annotations

import functools
import hashlib
from importlib import metadata
from pathlib import Path

try:
    __version__ = metadata.version("improv-theatre")
except metadata.PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0.0.0"


@functools.cache
def code_digest(*places: str) -> str:
    """Return a digest of the code of packages and modules: "improv.study", "improv.records".

    A package counts with all of its modules and subpackages. Raises ValueError for a place
    without code: an old name would hash nothing, and two different programs would look the same.
    """
    home = Path(__file__).parent
    hasher = hashlib.blake2b(digest_size=8)
    for place in places:
        path = home.joinpath(*place.split(".")[1:])
        module = path.with_suffix(".py")
        files = [module] if module.is_file() else sorted(path.rglob("*.py"))
        if not files or not place.startswith("improv."):
            raise ValueError(f"{place} has no code to hash")
        for file in files:
            # The file's name counts: a function that moves to another file is another program.
            hasher.update(file.relative_to(home).as_posix().encode() + b"\0")
            hasher.update(file.read_bytes() + b"\0")
    return hasher.hexdigest()
