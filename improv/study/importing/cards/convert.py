"""Converts a card to an entry of a scene's cast, and an entry back to a card. Pure.

The description of the character goes into the entry. Instructions to the model (`system_prompt`,
`post_history_instructions`, SillyTavern's `depth_prompt`) come from a stranger: they are shown to
the person who imports the card, and are in no prompt. An entry that came from a card becomes that
card again, with the fields that no scene uses.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from improv.errors import Problem, StudyError
from improv.records import Json
from improv.study.importing.cards.card import Card, fields_of
from improv.study.importing.cards.field_kinds import turn_off, written_entries
from improv.study.importing.cards.macros import Filling
from improv.study.importing.names import DEFAULT_ROLE, stage_name
from improv.study.scene import CharacterSpec
from improv.text import directions_in_parentheses, strip_asterisks, visible

LONGEST_CARD = 20_000
"""Characters of a cast entry's `card`, at most."""
_LONGEST_SAMPLE, _MOST_SAMPLES = 600, 40
_LONGEST_GREETING = 2000
_LOOKED_AT = 60_000
"""Characters of a field that are read; more than LONGEST_CARD, since macros may shorten a text."""
_OWN = "improv"
"""The key in a card's `extensions` for the fields of a character that only improv has."""
_OWN_FIELDS = ("role", "goal", "secret", "traits", "habit", "aliases")
_ORDERS = ("system_prompt", "post_history_instructions")


@dataclass
class Account:
    """What was kept, changed and left out of a card, for the person who imports it."""

    file: str
    title: str
    kept: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    orders: list[tuple[str, str]] = field(default_factory=list)
    """Instructions to a model as (field, text): shown, not obeyed."""


@dataclass(frozen=True)
class CardEntry:
    """A card as an entry of a scene's cast.

    `entry` has the fields of a character; `greetings` are its possible first lines, `first_mes`
    before the others; `scenario` is the situation that the card describes.
    """

    entry: Json
    greetings: list[str]
    scenario: str
    account: Account
    length: int
    """Characters of the card's text before it was shortened to LONGEST_CARD."""


def card_name(card: Card) -> str:
    """Return the name that a scene can use for a card's character. Raises StudyError."""
    if name := card_name_or(card, ""):
        return name
    what = f"'{card.text('name')[:40]}' has no letter, so a scene cannot use it as a name; "
    what += "write a 'name' beside 'card_file'"
    path = "data.name" if card.version > 1 else "name"
    raise StudyError([Problem(card.file, 1, 1, path, what)])


def card_name_or(card: Card, name: str) -> str:
    """Return the name that a scene can use for a card's character, or else `name`."""
    return stage_name(card.text("nickname")) or stage_name(card.text("name")) or name


def card_to_entry(card: Card, user: str, *, name: str = "", scenario: bool = True) -> CardEntry:
    """Convert a card to a cast entry; `user` is the name for {{user}} in its text.

    `name` replaces the card's own name. If `scenario` is false, the scenario is not part of the
    entry's `card`. Raises StudyError where the card's name cannot be used and there is no `name`.
    """
    name = name or card_name(card)
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
    entry |= _own(card, account)
    greetings = [
        _cut(_line(visible(fill.fill(greeting[:_LOOKED_AT], f"greeting {i}"))), _LONGEST_GREETING)
        for i, greeting in enumerate(
            [
                card.text("first_mes"),
                *card.texts("alternate_greetings"),
                *card.texts("group_only_greetings"),
            ]
        )
        if greeting.strip()
    ]
    _fill_account(account, card, entry, greetings, length, fill)
    return CardEntry(entry, [g for g in greetings if g], setting, account, length)


def entry_to_card(entry: Json, card: Card | None = None, user: str = "") -> Json:
    """Convert an entry of a scene's cast to a card's JSON.

    If the entry came from `card`, the result is that card with the changes of the entry and all
    other fields as they were. Otherwise it is a new card of version 3. The fields that only improv
    has are in `extensions`. `user` is the name for {{user}} when the card was imported.
    """
    if card is None:
        whole: Json = {"spec": "chara_card_v3", "spec_version": "3.0", "data": dict(_EMPTY)}
        before: Json = {"name": "", "role": DEFAULT_ROLE, "card": ""}
    else:
        whole = copy.deepcopy(card.whole)
        # Another name, or a scenario that became the premise, does not count as a changed text.
        casts = [
            card_to_entry(card, user, name=name, scenario=scenario).entry
            for name in (entry["name"], card_name_or(card, entry["name"]))
            for scenario in (True, False)
        ]
        before = next((c for c in casts if c["card"] == entry.get("card", "")), casts[0])
        before = before | {"name": card_name_or(card, entry["name"])}
    changed: Json = {}
    if entry["name"] != before["name"]:
        changed["name"] = entry["name"]
        if "nickname" in fields_of(whole):
            changed["nickname"] = entry["name"]
    if entry.get("card", "") != before["card"]:
        # This text has personality and scenario too; in their old fields they would be repeated.
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
        # SillyTavern writes the fields of version 1 beside `data` too.
        whole[name] = changed[name]
    own = {f: entry[f] for f in _OWN_FIELDS if entry.get(f) and entry[f] != before.get(f)}
    if own:
        extensions = data.get("extensions")
        data["extensions"] = {
            **(extensions if isinstance(extensions, dict) else {}),
            _OWN: {**_own_of(data), **own},
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
    """Return the description and the rest of a card's text, LONGEST_CARD characters at most.

    The description is shortened first, to half of LONGEST_CARD if the rest is long too.
    """
    room = LONGEST_CARD - len(rest) - 2 if len(rest) < LONGEST_CARD // 2 else LONGEST_CARD // 2
    if len(described) + len(rest) + 2 > LONGEST_CARD:
        described = _cut(described, room)
    return _cut("\n\n".join(filter(None, (described, rest))), LONGEST_CARD)


def _headed(head: str, text: str) -> str:
    return f"{head}: {text}" if text else ""


def _bare(content: str) -> str:
    """Drop a lorebook entry's decorators: its first lines, if they begin with @@."""
    lines = content.split("\n")
    while lines and (not lines[0].strip() or lines[0].startswith("@@")):
        lines.pop(0)
    return "\n".join(lines).strip()[:_LOOKED_AT]


def _constant(card: Card) -> list[tuple[int, Any]]:
    """Return the lorebook entries that are always on, each with its number in the lorebook."""
    on = [(i, e) for i, e in enumerate(card.lore) if e.constant]
    return [(i, e) for i, e in on if not re.search(r"^@@dont_activate\s*$", e.content, re.M)]


def _samples(text: str, mine: set[str], user: str) -> list[str]:
    """Return the lines of the character in a card's example conversations.

    `mine` are the names of the character, and `user` is the name for {{user}}.
    """
    own = {n.casefold() for n in mine if n.strip()}
    # Cards say "Haruhi:" where the name is Haruhi Suzumiya.
    own |= {first for n in own if len(first := n.split()[0]) > 2 and first != user.casefold()}
    known = "|".join(re.escape(n) for n in sorted({*own, user.casefold()}, key=len, reverse=True))
    cue = re.compile(rf"[ \t]*({known}|[^\W\d_](?:[\w .'’-]{{0,39}}))[ \t]*[:：]", re.IGNORECASE)
    spoken: list[list[str]] = []
    speaking = False
    for line in re.sub(r"<START>", "\n<START>\n", text, flags=re.IGNORECASE).split("\n"):
        start = cue.match(line)
        who = start[1].strip() if start else ""
        if line.strip() == "<START>":
            speaking = False
        elif start and (who.casefold() in {*own, user.casefold()} or not who[0].islower()):
            speaking = who.casefold() in own
            if speaking:
                spoken.append([line[start.end() :]])
        elif speaking:
            spoken[-1].append(line)
    samples = [_cut(_line("\n".join(lines)), _LONGEST_SAMPLE) for lines in spoken]
    return [sample for sample in samples if sample][:_MOST_SAMPLES]


def _line(text: str) -> str:
    """Return a text in the form of a scene's line: one line, with actions in round brackets."""
    return " ".join(strip_asterisks(directions_in_parentheses(" ".join(text.split()))).split())


def _cut(text: str, most: int) -> str:
    """Shorten a text to `most` characters, if possible at the end of a paragraph or sentence."""
    if len(text) <= most:
        return text
    head = text[:most]
    for mark in ("\n\n", "\n", ". ", " "):
        at = head.rfind(mark)
        if at > most * 3 // 4:
            return head[: at + (mark == ". ")].rstrip()
    return head.rstrip()


def _without_lore(text: str, whole: Json, card: Card, fill: Filling) -> str:
    """Remove the text of lorebook entries from a character's text.

    In `whole`, an entry is turned off if the character's text does not contain it any more.
    """
    gone = set()
    for i, entry in _constant(card):
        said = visible(fill.fill(_bare(entry.content), f"lore {i}")).strip()
        if said in text:
            text = text.replace(said, "", 1)
        else:
            gone.add(entry.content)
    for row in written_entries(fields_of(whole)):
        if row.get("constant") and row.get("content") in gone:
            turn_off(row)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


# -- the fields that only improv has


def _own_of(data: Json) -> Json:
    extensions = data.get("extensions")
    own = extensions.get(_OWN) if isinstance(extensions, dict) else None
    return own if isinstance(own, dict) else {}


def _own(card: Card, account: Account) -> Json:
    """Return the fields that only improv has, without those that no character can have."""
    own = {}
    for name, value in _own_of(card.data).items():
        if name not in _OWN_FIELDS or not value:
            continue
        try:
            CharacterSpec.model_validate({"name": "Ana", "role": DEFAULT_ROLE, name: value})
            own[name] = value
        except ValidationError:
            account.notes.append(f"extensions.{_OWN}.{name} is not usable; it is left out")
    return {name: own[name] for name in _OWN_FIELDS if name in own}


# -- the account


def _title(card: Card, name: str) -> str:
    by = f" by {visible(card.text('creator'))[:60]}" if card.text("creator").strip() else ""
    return f"{name}, a V{card.version} card{by} ({card.container})"


def _fill_account(
    account: Account, card: Card, entry: Json, greetings: list[str], length: int, fill: Filling
) -> None:
    """Add to the account what was kept, what is shown only, and the notes."""
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
            f"named {entry['name']} in the scene; its own name is "
            f"'{visible(card.text('name'))[:80]}'"
        )
    if card.newer:
        note(f"a newer version ({card.newer}); only the fields of version 3 are read")
    if length > LONGEST_CARD:
        note(
            f"its text has {length:,} characters; only the beginning of its description is used, "
            f"so that the text has {LONGEST_CARD:,} at most"
        )
    waiting = len(card.lore) - len(_constant(card))
    if waiting:
        note(f"not used: {_counted(waiting, 'lorebook entry that is on only after a keyword')}")
    if fill.drawn:
        note(f"drawn once, at random: {', '.join(fill.drawn[:8])}")
    if fill.left:
        note(f"not replaced: {', '.join(sorted(fill.left)[:8])}")
    if card.assets or card.data.get("assets"):
        note("its pictures and sounds are not imported")
    account.notes += [f"not as the specification says: {visible(what)}" for what in card.odd]
    if card.repaired:
        note(f"half a character was replaced in {_counted(card.repaired, 'text')}")
    used = {f"data.extensions.{name}" for name in (_OWN, "depth_prompt")}
    unknown = [name for name in card.unknown if name not in used]
    if unknown:
        names = ", ".join(visible(name)[:60] for name in unknown[:12])
        more = f" and {len(unknown) - 12} more" if len(unknown) > 12 else ""
        note(f"not used, but kept for export-card: {names}{more}")


def _counted(count: int, what: str) -> str:
    if count == 1:
        return f"1 {what}"
    head, _, tail = what.partition(" that is ")
    plural = f"{head[:-1]}ies" if head.endswith("y") else f"{head}s"
    return f"{count} {plural}{f' that are {tail}' if tail else ''}"
