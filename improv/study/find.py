"""Finds the file of a scene or study, by its path or its shipped name, and reads its YAML.

Nothing here knows what a scene or a study is made of; loader checks that.
"""

from __future__ import annotations

from pathlib import Path

from improv.errors import Problem, StudyError
from improv.files import shipped
from improv.study.base import did_you_mean
from improv.study.yaml_source import MAX_BYTES, Source, read_yaml


def find_source(path: str | Path) -> Path:
    """Return the file at a path, or of the shipped scene or study of that name. Raises
    StudyError."""
    named = Path(path)
    if named.is_file():
        return named
    if named.parent == Path():
        for folder in ("", "studies"):
            candidate = shipped("scenes") / folder / f"{named.name.removesuffix('.yaml')}.yaml"
            if candidate.is_file():
                return candidate
    names = sorted(p.stem for p in shipped("scenes").rglob("*.yaml"))
    hint = did_you_mean(named.stem, names)
    raise StudyError(
        [Problem(str(path), 1, 1, "", f"there is no such file or shipped scene{hint}")]
    )


def read_source(path: str | Path) -> Source:
    """Read a file by its path or shipped name, as unchecked data. Raises StudyError."""
    return read_file(find_source(path))


def read_file(file: Path) -> Source:
    """Read a YAML file that must be one mapping. Raises StudyError."""
    name = str(file)
    try:
        size = file.stat().st_size
        # The size is checked before reading, so that a file of gigabytes costs nothing.
        text = "" if size > MAX_BYTES else file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise StudyError([Problem(name, 1, 1, "", f"not UTF-8 text (byte {e.start})")]) from None
    except OSError as e:
        raise StudyError([Problem(name, 1, 1, "", f"cannot be read: {e.strerror}")]) from None
    if size > MAX_BYTES:
        what = f"{size / 1e6:.1f} MB is too large; a scene or study may have {MAX_BYTES // 1000} kB"
        raise StudyError([Problem(name, 1, 1, "", what)])
    source = read_yaml(text, name)
    if not isinstance(source.data, dict):
        what = (
            "a scene is a mapping that begins with 'title:', a study one that begins with 'study:'"
        )
        raise StudyError([Problem(name, 1, 1, "", what)])
    return source
