"""The page of the command: every command with its arguments and options, from its own help.

It reads the parser's tree and not the printed help, which depends on the width of a terminal.
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
    contents = [
        f"- [`{path}`](#{path.replace(' ', '-')}): {_short(command)}" for path, command in commands
    ]
    sections = [_section(path, command) for path, command in commands]
    return "\n\n".join([HEAD.strip(), "\n".join(contents), *sections]) + "\n"


def _commands(group: Any, context: Any) -> list[tuple[str, Any]]:
    commands = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command.hidden:
            continue
        inner = typer.Context(command, parent=context, info_name=name)
        if hasattr(command, "list_commands"):
            commands += _commands(command, inner)
        else:
            commands.append((inner.command_path, command))
    return commands


def _short(command: Any) -> str:
    return " ".join((command.help or "").split("\n\n")[0].split())


def _section(path: str, command: Any) -> str:
    shown = [p for p in command.params if not getattr(p, "hidden", False)]
    arguments = [p for p in shown if p.param_type_name == "argument"]
    options = [p for p in shown if p.param_type_name == "option" and p.name != "help"]
    usage = [path, *(["[OPTIONS]"] if options else []), *map(_usage, arguments)]
    parts = [" ".join(part.split()) for part in (command.help or "").split("\n\n")]
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


def _inner(parameter: Any) -> Any:
    """Return the type of a parameter's value, or of each of its values."""
    kind = parameter.type_descriptor.annotation
    while typing.get_origin(kind) in (list, typing.Union, types.UnionType):
        kind = next(a for a in typing.get_args(kind) if a is not type(None))
    return kind


def _parameter(name: str, parameter: Any) -> str:
    sentences = [" ".join((getattr(parameter, "help", "") or "").split())]
    if limits := _limits(parameter):
        sentences.append(limits)
    if getattr(parameter, "multiple", False):
        sentences.append("May be given several times.")
    default = parameter.default
    if isinstance(default, str | int | float) and not isinstance(default, bool) and default != "":
        sentences.append(f"By default `{default}`.")
    if variable := getattr(parameter, "envvar", None):
        sentences.append(f"By default the value of `{variable}`.")
    return f"- `{name}`: {' '.join(filter(None, sentences))}".rstrip(": ")


def _limits(parameter: Any) -> str:
    least, most = getattr(parameter, "min", None), getattr(parameter, "max", None)
    if least is not None and most is not None:
        return f"From {least} to {most}."
    if least is not None:
        return f"At least {least}."
    return f"At most {most}." if most is not None else ""
