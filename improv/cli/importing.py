"""Commands that bring in what other programs wrote: import-card, import-fountain; and export-card,
which gives a card back."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from improv.cli import terminal, terminal_cards
from improv.cli.options import app, telling

To = Annotated[str, typer.Option("-o", "--output", metavar="FILE", help="Where to write.")]


@app.command("import-card")
def import_card_command(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Cards: JSON, PNG or CHARX.")
    ],
    output: To = "",
    into: Annotated[
        str, typer.Option(metavar="SCENE", help="A scene's file, whose cast they join.")
    ] = "",
    user: Annotated[
        str, typer.Option(metavar="NAME", help="Whom the cards call {{user}}; joins the cast.")
    ] = "",
) -> None:
    """Make a scene of character cards, or have them join the cast of one.

    The scene is printed, or written with -o; what was taken over is told beside it. What a card
    orders its model to do is shown, and not obeyed.
    """
    with telling():
        from improv.study.importing.importer import import_cards, import_into

        made = (
            import_into(into, files, user)
            if into
            else import_cards(files, user, output or "the scene")
        )
        terminal_cards.accounts(made.accounts)
        _put(made.text, output or into, new=bool(output))


@app.command("export-card")
def export_card_command(
    scene: Annotated[str, typer.Argument(metavar="SCENE", help="A scene's file or name.")],
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Whose card.")] = "",
    output: To = "",
    picture: Annotated[
        str, typer.Option(metavar="PNG", help="A picture to write the card into.")
    ] = "",
) -> None:
    """Write a character as a card that other programs read.

    A character that came from a card returns as that card, with what you changed and with
    everything that improv has no use for.
    """
    with telling():
        from improv.study.importing.importer import export_card

        card = export_card(scene, name, picture)
        if output:
            terminal.write(output, card)
        elif picture:
            terminal.complain("a picture is not printed; say where to write it with -o")
            raise typer.Exit(2)
        else:
            sys.stdout.write(card.decode())


@app.command("import-fountain")
def import_fountain_command(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A screenplay in Fountain.")],
    output: To = "",
    scene: Annotated[
        int, typer.Option(min=0, help="Which of its scenes; 0 is the first that has dialogue.")
    ] = 0,
) -> None:
    """Make a scene of a screenplay: its people, and its lines as the written opening.

    What the same people say in other scenes of it becomes sample lines.
    """
    with telling():
        from improv.study.importing.importer import import_fountain

        made, adapted = import_fountain(file, scene)
        terminal_cards.adapted(file, made.scene, adapted)
        _put(made.text, output, new=True)


def _put(text: str, output: str, *, new: bool) -> None:
    """Write a scene's file, or print it where none is named."""
    from improv.study.importing.importer import save

    if output:
        save(text, output, new=new)
        terminal.say(f"written: {output}")
    else:
        sys.stdout.write(text)
