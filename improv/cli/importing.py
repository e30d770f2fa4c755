"""Commands that read other programs' files: import-card, import-fountain; and export-card, which
writes a card. What they print about a card or a screenplay is here too."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from improv.cli import terminal
from improv.cli.options import app, reported_errors

if TYPE_CHECKING:
    from improv.study.importing.cards.convert import Account
    from improv.study.importing.screenplay import Adapted
    from improv.study.scene import Scene

_PRINTED = 1500
"""Characters of an instruction that are printed, at most."""

_Output = Annotated[str, typer.Option("-o", "--output", metavar="FILE", help="Write to this file.")]


@app.command("import-card")
def import_card_command(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Cards: JSON, PNG or CHARX.")
    ],
    output: _Output = "",
    into: Annotated[
        str, typer.Option(metavar="SCENE", help="A scene's file; the cards join its cast.")
    ] = "",
    user: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="The name for {{user}} in the cards; this character joins the cast.",
        ),
    ] = "",
) -> None:
    """Make a scene of character cards, or add them to the cast of a scene.

    Prints the scene, or writes it with -o, and lists on standard error what it kept of each card.
    Instructions that a card gives to its model are printed there and not followed.
    """
    with reported_errors():
        from improv.study.importing.importer import import_cards, import_into

        made = (
            import_into(into, files, user)
            if into
            else import_cards(files, user, output or "the scene")
        )
        print_accounts(made.accounts)
        _write_scene(made.text, output or into, new=bool(output))


@app.command("export-card")
def export_card_command(
    scene: Annotated[str, typer.Argument(metavar="SCENE", help="A scene's file or name.")],
    name: Annotated[
        str,
        typer.Argument(metavar="[NAME]", help="Which character; needed if the scene has several."),
    ] = "",
    output: _Output = "",
    picture: Annotated[
        str, typer.Option(metavar="PNG", help="A PNG picture that will contain the card.")
    ] = "",
) -> None:
    """Write a character as a card that other programs read.

    If the character was imported from a card, the new card has your changes and all fields of the
    old card, those that improv does not use too.
    """
    with reported_errors():
        from improv.study.importing.importer import export_card

        card = export_card(scene, name, picture)
        if output:
            terminal.write_output(output, card)
        elif picture:
            terminal.complain("a picture cannot be printed; name a file with -o")
            raise typer.Exit(2)
        else:
            terminal.print_file(card.decode())


@app.command("import-fountain")
def import_fountain_command(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A screenplay in Fountain.")],
    output: _Output = "",
    scene: Annotated[
        int,
        typer.Option(
            min=0, help="Which scene of the screenplay; 0 is the first one with dialogue."
        ),
    ] = 0,
) -> None:
    """Make a scene of one scene of a screenplay: its speakers, and its lines as the opening.

    Lines that the same speakers have in other scenes become sample lines.
    """
    with reported_errors():
        from improv.study.importing.importer import import_fountain

        made, adapted = import_fountain(file, scene)
        _print_adapted(file, made.scene, adapted)
        _write_scene(made.text, output, new=True)


def _write_scene(text: str, output: str, *, new: bool) -> None:
    """Write the text of a scene to `output`, or print it if `output` is empty."""
    from improv.study.importing.importer import save

    if output:
        save(text, output, new=new)
        terminal.say(f"written: {output}")
    else:
        terminal.print_file(text)


# These lines go to standard error: standard output may hold the scene itself.


def print_accounts(accounts: Iterable[Account], *, brief: bool = False) -> None:
    """Print what each card's import kept, changed and left out; `brief` omits what was kept."""
    for account in accounts:
        terminal.plain_error(f"{account.file}: {account.title}")
        if account.kept and not brief:
            terminal.plain_error(f"- taken over: {', '.join(account.kept)}")
        for note in account.notes:
            terminal.plain_error(f"- {note}")
        for field, text in account.orders:
            more = f" … ({len(text):,} characters)" if len(text) > _PRINTED else ""
            terminal.plain_error(f"- shown, not obeyed: {field}")
            for line in (text[:_PRINTED] + more).splitlines():
                terminal.plain_error(f"  | {line}".lstrip())


def _print_adapted(file: str, scene: Scene, adapted: Adapted) -> None:
    """Print what the import of a screenplay kept and left out."""
    lines = sum(entry.line is not None for entry in scene.opening)
    samples = sum(len(c.samples) for c in scene.cast)
    who = ", ".join(c.name for c in scene.cast)
    terminal.plain_error(f"{file}: {scene.title}, with {who}")
    terminal.plain_error(
        f"- taken over: {lines} lines and {len(scene.opening) - lines} directions as the opening, "
        f"{samples} sample lines"
    )
    if adapted.left:
        left_out = ", ".join(f"{count} {what}" for what, count in adapted.left.items())
        terminal.plain_error(f"- left out: {left_out}")
    if adapted.others:
        more = f" and {len(adapted.others) - 12} more" if len(adapted.others) > 12 else ""
        terminal.plain_error(f"- other scenes (--scene): {'; '.join(adapted.others[:12])}{more}")
