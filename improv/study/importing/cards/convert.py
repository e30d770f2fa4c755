"""Casts a card: what of it a character of a scene takes over, and what is shown but not obeyed.
And back: a character as a card, with everything in it that no scene has a use for. Pure.

What a card says of its character is taken over. What it tells the *model* to do (`system_prompt`,
`post_history_instructions`, SillyTavern's `depth_prompt`) is an instruction by a stranger: it is
shown to whoever imports the card, and reaches no prompt.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field
from typing import Any

from improv.errors import Problem, StudyError
from improv.records import Json
from improv.study.importing.cards.card import Card, fields_of
from improv.study.importing.cards.macros import Filling
from improv.study.importing.names import DEFAULT_ROLE, stage_name
from improv.text import directions_in_parentheses, strip_asterisks, visible

LONGEST_CARD = 20_000
LONGEST_SAMPLE, MOST_SAMPLES = 600, 40
LONGEST_LINE = 2000
_LOOKED_AT = 60_000
"""Characters of a field that are looked at: macros may make a text shorter."""
OWN = "improv"
"""Under which name in a card's `extensions` stands what only improv knows of a character."""
_OWN_FIELDS = ("role", "goal", "secret", "traits", "habit", "aliases")
_ORDERS = ("system_prompt", "post_history_instructions")


@dataclass
class Account:
    """What became of a card: told to whoever imports it."""

    file: str
    title: str
    kept: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    orders: list[tuple[str, str]] = field(default_factory=list)
    """Instructions for a model, by their field: shown, not obeyed."""


@dataclass(frozen=True)
class Casting:
    """A card as an entry of a scene's cast.

    `entry` has the fields of a character; `greetings` are its written first lines, the card's own
    first; `scenario` is how the card says that things stand.
    """

    entry: Json
    greetings: list[str]
    scenario: str
    account: Account
    length: int
    """Characters of the card's text, of which a character is told LONGEST_CARD at most."""


def called(card: Card) -> str:
    """Return the name by which a stage can call a card's character. Raises StudyError."""
    if name := called_or(card, ""):
        return name
    what = f"'{card.text('name')[:40]}' has no letter that could be called on a stage; "
    what += "name the character in the scene, beside 'card_file'"
    path = "data.name" if card.version > 1 else "name"
    raise StudyError([Problem(card.file, 1, 1, path, what)])


def called_or(card: Card, name: str) -> str:
    """Return the name by which a stage can call a card's character, or else `name`."""
    return stage_name(card.text("nickname")) or stage_name(card.text("name")) or name


def cast_card(card: Card, user: str, *, name: str = "", scenario: bool = True) -> Casting:
    """Return a card as a character that meets `user`, whom its text calls {{user}}.

    `name` is what the character is called where the card's own name is not wanted. Without
    `scenario` that stands beside the character, not in it. Raises StudyError.
    """
    name = name or called(card)
    fill = Filling(name, user, card.text("name"))

    def text(field: str) -> str:
        return visible(fill.fill(card.text(field)[:_LOOKED_AT], field)).strip()

    account = Account(card.file, _title(card, name))
    setting = text("scenario")
    parts = [
        _headed("Personality", text("personality")),
        _headed("Scenario", setting) if scenario else "",
        *(visible(fill.fill(_bare(e.content), f"lore {i}")) for i, e in _constant(card)),
    ]
    rest = "\n\n".join(part.strip() for part in parts if part.strip())
    described = text("description")
    whole = _fitted(described, rest)
    unread = max(0, len(card.text("description")) - _LOOKED_AT)
    length = len(described) + unread + len(rest) + 2
    samples = _samples(text("mes_example"), {name, visible(card.text("name"))}, user)
    entry: Json = {"name": name, "role": DEFAULT_ROLE, "card": whole}
    if samples:
        entry["samples"] = samples
    entry |= _own(card)
    greetings = [
        _cut(_line(visible(fill.fill(one[:_LOOKED_AT], f"greeting {i}"))), LONGEST_LINE)
        for i, one in enumerate(
            [
                card.text("first_mes"),
                *card.texts("alternate_greetings"),
                *card.texts("group_only_greetings"),
            ]
        )
        if one.strip()
    ]
    _tell(account, card, entry, greetings, length, fill)
    return Casting(entry, [g for g in greetings if g], setting, account, length)


def card_of(entry: Json, card: Card | None = None, user: str = "") -> Json:
    """Return an entry of a scene's cast as a card's JSON.

    Where it came from a card, that card returns, with what the entry has changed since and with
    everything else as it was. Otherwise it is a new card of version 3. What only improv knows
    stands in `extensions`. `user` is whom the card met when it was cast.
    """
    if card is None:
        whole: Json = {"spec": "chara_card_v3", "spec_version": "3.0", "data": dict(_EMPTY)}
        before: Json = {"name": "", "role": DEFAULT_ROLE, "card": ""}
    else:
        whole = copy.deepcopy(card.whole)
        # A new name, or a scenario that became the scene's premise, is no change of the text.
        casts = [
            cast_card(card, user, name=name, scenario=on).entry
            for name in (entry["name"], called_or(card, entry["name"]))
            for on in (True, False)
        ]
        before = next((c for c in casts if c["card"] == entry.get("card", "")), casts[0])
        before = before | {"name": called_or(card, entry["name"])}
    changed: Json = {}
    if entry["name"] != before["name"]:
        changed["name"] = entry["name"]
        if "nickname" in fields_of(whole):
            changed["nickname"] = entry["name"]
    if entry.get("card", "") != before["card"]:
        # All of it stands in one text now; said again in its old fields it would be said twice.
        described = entry.get("card", "")
        if card is not None:
            described = _without_lore(
                described, whole, card, Filling(entry["name"], user, card.text("name"))
            )
        changed |= {"description": described, "personality": "", "scenario": ""}
    if entry.get("samples", []) != before.get("samples", []):
        lines = "\n".join(f"{{{{char}}}}: {line}" for line in entry.get("samples", []))
        changed["mes_example"] = f"<START>\n{lines}" if lines else ""
    data = fields_of(whole)
    data |= changed
    for name in changed.keys() & whole.keys():
        # SillyTavern's files have the fields of version 1 beside `data` as well.
        whole[name] = changed[name]
    own = {f: entry[f] for f in _OWN_FIELDS if entry.get(f) and entry[f] != before.get(f)}
    if own:
        extensions = data.get("extensions")
        data["extensions"] = {
            **(extensions if isinstance(extensions, dict) else {}),
            OWN: {**_own_of(data), **own},
        }
    return whole


_EMPTY: dict[str, Any] = {
    "name": "",
    "description": "",
    "personality": "",
    "scenario": "",
    "first_mes": "",
    "mes_example": "",
    "creator_notes": "",
    "system_prompt": "",
    "post_history_instructions": "",
    "alternate_greetings": [],
    "tags": [],
    "creator": "",
    "character_version": "",
    "extensions": {},
    "group_only_greetings": [],
}


# -- text


def _fitted(described: str, rest: str) -> str:
    """Put a description before the rest of a card, shortened where both are too long."""
    room = LONGEST_CARD - len(rest) - 2 if len(rest) < LONGEST_CARD // 2 else LONGEST_CARD // 2
    if len(described) + len(rest) + 2 > LONGEST_CARD:
        described = _cut(described, room)
    return _cut("\n\n".join(filter(None, (described, rest))), LONGEST_CARD)


def _headed(head: str, text: str) -> str:
    return f"{head}: {text}" if text else ""


def _bare(content: str) -> str:
    """Drop a lorebook entry's decorators, lines at its head that begin with @@."""
    lines = content.split("\n")
    while lines and (not lines[0].strip() or lines[0].startswith("@@")):
        lines.pop(0)
    return "\n".join(lines).strip()[:_LOOKED_AT]


def _constant(card: Card) -> list[tuple[int, Any]]:
    """Return the lorebook's entries that are always on, each with its number."""
    on = [(i, e) for i, e in enumerate(card.lore) if e.constant]
    return [(i, e) for i, e in on if not re.search(r"^@@dont_activate\s*$", e.content, re.M)]


def _samples(text: str, mine: set[str], user: str) -> list[str]:
    """Return what the character says in a card's example conversations."""
    own = {n.casefold() for n in mine if n.strip()}
    # Cards say "Haruhi:" where the name is Haruhi Suzumiya.
    own |= {first for n in own if len(first := n.split()[0]) > 2 and first != user.casefold()}
    known = "|".join(re.escape(n) for n in sorted({*own, user.casefold()}, key=len, reverse=True))
    cue = re.compile(rf"[ \t]*({known}|[^\W\d_](?:[\w .'’-]{{0,39}}))[ \t]*[:：]", re.IGNORECASE)
    spoken: list[list[str]] = []
    speaking = False
    for line in re.sub(r"<START>", "\n<START>\n", text, flags=re.IGNORECASE).split("\n"):
        found = cue.match(line)
        who = found[1].strip() if found else ""
        if line.strip() == "<START>":
            speaking = False
        elif found and (who.casefold() in {*own, user.casefold()} or not who[0].islower()):
            speaking = who.casefold() in own
            if speaking:
                spoken.append([line[found.end() :]])
        elif speaking:
            spoken[-1].append(line)
    lines = [_cut(_line("\n".join(one)), LONGEST_SAMPLE) for one in spoken]
    return [line for line in lines if line][:MOST_SAMPLES]


def _line(text: str) -> str:
    """Return what is said as a stage writes it: one line, what is done in round brackets."""
    return " ".join(strip_asterisks(directions_in_parentheses(" ".join(text.split()))).split())


def _cut(text: str, most: int) -> str:
    """Return the beginning of a text that is too long, to the end of a paragraph or sentence."""
    if len(text) <= most:
        return text
    head = text[:most]
    for mark in ("\n\n", "\n", ". ", " "):
        at = head.rfind(mark)
        if at > most * 3 // 4:
            return head[: at + (mark == ". ")].rstrip()
    return head.rstrip()


def _without_lore(text: str, whole: Json, card: Card, fill: Filling) -> str:
    """Take out of a character's text what its lorebook says, and turn off in the lorebook what the
    text does not say any more."""
    gone = set()
    for i, entry in _constant(card):
        said = visible(fill.fill(_bare(entry.content), f"lore {i}")).strip()
        if said in text:
            text = text.replace(said, "", 1)
        else:
            gone.add(entry.content)
    for row in (fields_of(whole).get("character_book") or {}).get("entries") or []:
        if row.get("constant") is True and row.get("content") in gone:
            row["enabled"] = False
    return re.sub(r"\n{3,}", "\n\n", text).strip()


# -- what only improv knows


def _own_of(data: Json) -> Json:
    extensions = data.get("extensions")
    own = extensions.get(OWN) if isinstance(extensions, dict) else None
    return own if isinstance(own, dict) else {}


def _own(card: Card) -> Json:
    own = _own_of(card.data)
    return {name: own[name] for name in _OWN_FIELDS if own.get(name)}


# -- the account


def _title(card: Card, name: str) -> str:
    by = f" by {visible(card.text('creator'))[:60]}" if card.text("creator").strip() else ""
    return f"{name}, a V{card.version} card{by} ({card.container})"


def _tell(
    account: Account, card: Card, entry: Json, greetings: list[str], length: int, fill: Filling
) -> None:
    fields = ("description", "personality", "scenario")
    account.kept += [name for name in fields if card.text(name).strip()]
    for count, what in (
        (len(entry.get("samples", ())), "sample line"),
        (len(greetings), "greeting"),
        (len(_constant(card)), "lorebook entry that is always on"),
    ):
        if count:
            account.kept.append(_counted(count, what))
    account.orders += [(f, card.text(f).strip()) for f in _ORDERS if card.text(f).strip()]
    depth = card.data.get("extensions")
    depth = depth.get("depth_prompt") if isinstance(depth, dict) else None
    if isinstance(depth, dict) and str(depth.get("prompt") or "").strip():
        account.orders.append(("extensions.depth_prompt", str(depth["prompt"]).strip()))
    note = account.notes.append
    if visible(card.text("name")) != entry["name"]:
        note(
            f"called {entry['name']} on the stage; its name is '{visible(card.text('name'))[:80]}'"
        )
    if card.newer:
        note(f"of a newer kind ({card.newer}), read as far as version 3 goes")
    if length > LONGEST_CARD:
        note(
            f"its text has {length:,} characters; of its description the beginning plays, so that "
            f"all is {LONGEST_CARD:,} at most"
        )
    waiting = len(card.lore) - len(_constant(card))
    if waiting:
        note(f"not used: {_counted(waiting, 'lorebook entry')} for which a word would have to fall")
    if fill.drawn:
        note(f"drawn once and for all: {', '.join(fill.drawn[:8])}")
    if fill.left:
        note(f"left as they stand: {', '.join(sorted(fill.left)[:8])}")
    if card.assets or card.data.get("assets"):
        note("its pictures and sounds stay in its file")
    if card.mended:
        note(f"{_counted(card.mended, 'text')} had half a character, which is replaced")
    used = {f"data.extensions.{name}" for name in (OWN, "depth_prompt")}
    unknown = [name for name in card.unknown if name not in used]
    if unknown:
        names = ", ".join(visible(name)[:60] for name in unknown[:12])
        more = f" and {len(unknown) - 12} more" if len(unknown) > 12 else ""
        note(f"kept for the way back, and not used: {names}{more}")


def _counted(count: int, what: str) -> str:
    if count == 1:
        return f"1 {what}"
    head, _, tail = what.partition(" that is ")
    plural = f"{head[:-1]}ies" if head.endswith("y") else f"{head}s"
    return f"{count} {plural}{f' that are {tail}' if tail else ''}"
