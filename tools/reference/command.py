"""The page of the command: every command with its arguments and options, from its own help.

The parser's tree is read, not what it prints, so that no width of a terminal shows.
"""

from __future__ import annotations

import enum
import types
import typing
from typing import Any

import typer

from improv.cli import app

HEAD = """
# The command

Every command of `improv`, from its own help. `improv COMMAND --help` says the same in a terminal.
Written by `make reference`.

Exit codes: 0 all is well, 1 some trials failed, 2 the command or a file is wrong, 3 the machine or
an endpoint is not ready, 4 a budget is reached, 130 interrupted.
"""


def page() -> str:
    """Return the page of the command."""
    top: Any = typer.main.get_command(app)
    context = typer.Context(top, info_name="improv")
    commands = _commands(top, context)
    contents = [f"- [`{path}`](#{path.replace(' ', '-')}): {_short(one)}" for path, one in commands]
    sections = [_section(path, one) for path, one in commands]
    return "\n\n".join([HEAD.strip(), "\n".join(contents), *sections]) + "\n"


def _commands(group: Any, context: Any) -> list[tuple[str, Any]]:
    found = []
    for name in group.list_commands(context):
        one = group.get_command(context, name)
        if one.hidden:
            continue
        inner = typer.Context(one, parent=context, info_name=name)
        if hasattr(one, "list_commands"):
            found += _commands(one, inner)
        else:
            found.append((inner.command_path, one))
    return found


def _short(one: Any) -> str:
    return " ".join((one.help or "").split("\n\n")[0].split())


def _section(path: str, one: Any) -> str:
    shown = [p for p in one.params if not getattr(p, "hidden", False)]
    arguments = [p for p in shown if p.param_type_name == "argument"]
    options = [p for p in shown if p.param_type_name == "option" and p.name != "help"]
    usage = [path, *(["[OPTIONS]"] if options else []), *map(_usage, arguments)]
    parts = [" ".join(part.split()) for part in (one.help or "").split("\n\n")]
    lines = [f"## {path}", "", "    " + " ".join(usage), "", "\n\n".join(parts), ""]
    lines += [_parameter(_usage(p), p) for p in arguments]
    lines += [_parameter(_flags(p), p) for p in options]
    return "\n".join(lines).rstrip()


def _usage(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    name += "..." if argument.nargs == -1 and not name.endswith("...") else ""
    return name if argument.required or name.startswith("[") else f"[{name}]"


def _flags(option: Any) -> str:
    names = ", ".join([*option.opts, *getattr(option, "secondary_opts", [])])
    return names if getattr(option, "is_flag", False) else f"{names} {_kind(option)}"


def _kind(option: Any) -> str:
    if option.metavar:
        return str(option.metavar)
    kind = _inner(option)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return "|".join(str(choice.value) for choice in kind)
    if typing.get_origin(kind) is typing.Literal:
        return "|".join(map(str, typing.get_args(kind)))
    return "NUMBER" if kind in (int, float) else "TEXT"


def _inner(one: Any) -> Any:
    """Return the type of a parameter's value, or of each of its values."""
    kind = one.type_descriptor.annotation
    while typing.get_origin(kind) in (list, typing.Union, types.UnionType):
        kind = next(a for a in typing.get_args(kind) if a is not type(None))
    return kind


def _parameter(name: str, one: Any) -> str:
    told = [" ".join((getattr(one, "help", "") or "").split())]
    if limits := _limits(one):
        told.append(limits)
    if getattr(one, "multiple", False):
        told.append("May be given several times.")
    default = one.default
    if isinstance(default, str | int | float) and not isinstance(default, bool) and default != "":
        told.append(f"By default `{default}`.")
    if variable := getattr(one, "envvar", None):
        told.append(f"Read from `{variable}` where it is not given.")
    return f"- `{name}`: {' '.join(filter(None, told))}".rstrip(": ")


def _limits(one: Any) -> str:
    least, most = getattr(one, "min", None), getattr(one, "max", None)
    if least is not None and most is not None:
        return f"From {least} to {most}."
    if least is not None:
        return f"At least {least}."
    return f"At most {most}." if most is not None else ""
