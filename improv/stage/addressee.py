"""Finds the character whom a line addresses, from its words. There is no I/O here.

The stage records the addressee, and an order may let that character speak next. The evidence, the
strongest first: the line says it, "(to Bo)"; it calls somebody by name; it is about somebody. If
there is none of these, `addressee_guess` weighs the order of turns and the words. A line to
everybody addresses nobody in particular.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from improv.records import AddressedBy
from improv.stage.addressee_guess import Spoken, guess
from improv.stage.addressee_weights import WEIGHTS
from improv.stage.names import LETTER, MARKS, UNSPACED, Cast, fold, owners, short_forms, spellings

_NOBODY: tuple[str, AddressedBy] = ("", "none")


@dataclass(frozen=True, slots=True)
class Outright:
    """What a line says itself of its addressee.

    `known` is the addressee and the evidence, None if the line leaves it open. `mentions` are names
    that it has without calling them.
    """

    known: tuple[str, AddressedBy] | None
    mentions: list[str]


def find_outright(
    text: str, speaker: str, cast: Sequence[tuple[str, Sequence[str]]], present: Sequence[str]
) -> Outright:
    """Return what `text` says of its addressee by itself.

    `cast` pairs each name with its aliases, and only those `present` can be addressed.
    """
    others = [name for name in present if name != speaker]
    if not others or not text:
        return Outright(_NOBODY, [])
    try:
        names = _known(cast, speaker)
    except TypeError:  # lists have no hash
        names = _known(tuple((name, tuple(aliases)) for name, aliases in cast), speaker)
    if "(" in text and (said := names.said(text)):
        return Outright(_if_present(said[-1], others, "said"), [])
    at, calls, mentions = names.calls(text)
    words = set(_WORD.findall(text.lower()))
    last_to_all = -1
    if not words.isdisjoint(_MANY):
        last_to_all = max((m.start() for m in _ALL.finditer(text)), default=-1)
    if calls and at > last_to_all:
        known = _if_present(calls[0], others, "name") if len(calls) == 1 else _NOBODY
        return Outright(known, mentions)
    if last_to_all >= 0:
        return Outright(_NOBODY, mentions)
    if len(mentions) == 1 and mentions[0] in others and words.isdisjoint(_YOU):
        return Outright((mentions[0], "name"), mentions)
    if len(others) == 1:
        return Outright((others[0], "order"), mentions)
    return Outright(None, mentions)


def find_addressee(
    text: str,
    speaker: str,
    cast: Sequence[tuple[str, Sequence[str]]],
    earlier: Sequence[Spoken],
    present: Sequence[str],
    weights: Mapping[str, float] = WEIGHTS,
) -> tuple[str, AddressedBy]:
    """Return the addressee of `text` and the evidence: ("", "none") for nobody in particular.

    `earlier` are the lines before, the latest last. `weights` are those of the signs that count
    where the line leaves it open.
    """
    outright = find_outright(text, speaker, cast, present)
    if outright.known is not None:
        return outright.known
    others = [name for name in present if name != speaker]
    addressee = guess(text, speaker, others, earlier, outright.mentions, weights)
    return (addressee, "order") if addressee else _NOBODY


def _if_present(name: str, others: list[str], by: AddressedBy) -> tuple[str, AddressedBy]:
    return (name, by) if name in others else _NOBODY


# --- everybody, and somebody

_WORD = re.compile(r"[^\W\d_]+")
# A line to everybody has one of these words. To look for a word is cheaper than for a pattern.
_MANY = frozenset(
    _WORD.findall(
        "all both everyone everybody anyone anybody someone somebody nobody no each some any none "
        "one which either neither who ladies gentlemen friends folks comrades people guys boys "
        "girls pair lot two three four"
    )
)
_YOU = frozenset(_WORD.findall("you your yours yourself thou thee thy ye ya"))
_ALL = re.compile(
    r"\b(?:all of you|you all|you both|both of you|you (?:two|three|four|lot|people|guys)|y['’]all"
    r"|(?:each|some|any|none|one|which|either|neither|who) of you|ladies and gentlemen"
    r"|the (?:pair|lot|two|three) of you|who (?:here|among)|friends|folks|gentlemen|ladies"
    r"|comrades)\b"
    r"|(?:^|[.!?…—,;:]\s)(?:(?:hello|hi|hey|evening|morning|listen|attention|quiet|thank you|thanks"
    r"|well|all right|welcome|so|now),? )?(?:everyone|everybody|people|guys|boys|girls)"
    r"(?=[,.!?…:—]|$| (?:out|down|in|into|to|off|under|up|back|be|get|come|stay|sit|stand|listen"
    r"|run|keep|take|look|hold|on)\b)"
    r"|\b(?:does|do|did|has|have|is|are|can|could|will|would|was|may) (?:anyone|anybody|someone"
    r"|somebody|no one|nobody)\b|\b(?:good (?:evening|morning|night)|hello|welcome|thank you"
    r"|listen|attention|goodbye),? (?:all|everyone|everybody)\b"
    r"|^(?:any(?:one|body)|some(?:one|body))\b"
    r"|\b(?:let['’]s|shall we) (?:all|everyone|everybody)\b",
    re.IGNORECASE,
)


# --- names

# What may come right before a name that is called, without a comma.
_BEFORE = re.compile(
    r"(?:^|[\W_])(?:oh|o|hey|ah|hi|hello|dear|my dear|poor|good|sweet|thank you|thanks|sorry|"
    r"please|bye|goodbye|good (?:night|morning|evening|day)|goodnight|welcome|come on|cheers|bravo|"
    r"well done|damn you|and you|but you|you|yes|no|now|well|so|look|listen|wait|stop|psst|"
    r"يا|ऐ|अरे|ओ|喂|嘿|哎|คุณ|"
    r"down|up|out|here|there|going|back|again|away|tonight|doing|wrong|much|mean|saying)$",
    re.IGNORECASE,
)
_STARTS = re.compile(r"(?:^|[.!?…;:—–\"“”»)*\n。！？：；」』）「『（《¿¡؟؛।॥-])\s*$")
_STOPS = re.compile(r"\s*(?:[,.!?…;:—–\"”»，。！？、：；」』）～،؛؟।॥]|-|$)")
_RELATIVE = re.compile(
    r",\s(?:who|whom|whose|which|too|also|at least|of course|then|for one|like|meanwhile|"
    r"(?:the|an?|our|his|her|their)\s[^,.!?]{1,40},\s[a-z]|and\s(?:the|his|her|my|our)\s)"
)
_BETWEEN = re.compile(r"\s*(?:[,،]|,?\s*(?:and|or|&)|、|和)\s*(?:you,?\s*)?$")
_SUBJECT = re.compile(
    r"\s(?:will|can|should|must|has|is|knows?|goes|stays?|takes?|holds?|gets?|comes?|leads?|first"
    r"|next|and I|could|would|had|did|does|was)\b"
)


@dataclass(frozen=True, slots=True)
class _Known:
    """The names that one speaker can address in one cast."""

    owner: dict[str, str]
    name: re.Pattern[str]
    toward: re.Pattern[str]

    def said(self, text: str) -> list[str]:
        """Return whom parentheses name: "(to Bo)", "(turning to Bo, low)", "(glares at Bo)"."""
        return [self.owner[fold(m[1])] for m in self.toward.finditer(text)]

    def calls(self, text: str) -> tuple[int, list[str], list[str]]:
        """Return the position of the last call by name, whom it calls (all of "Bo and Cy"), and
        whom the line is about ("" for a name that is mentioned but is no subject)."""
        calls: list[str] = []
        mentions: list[str] = []
        at, end, called = -1, -1, False
        if '"' in text or "“" in text:
            text = _QUOTED.sub(lambda m: " " * len(m[0]), text)  # what others said calls nobody
        for m in self.name.finditer(text):
            who = self.owner[fold(m[0])]
            start, before = m.start(), called
            joint = _BETWEEN.match(text[end:start]) if end >= 0 else None
            called = _is_called(text, start, m.end(), joint[0] if joint else "", before)
            if called:
                calls = [*calls, who] if joint and before else [who]
                at = start
            elif m[0][0].isupper() or not m[0].isascii() or " " in m[0]:
                mentions.append(who if _is_subject(text, start, m.end()) else "")
            end = m.end()
        return at, list(dict.fromkeys(calls)), list(dict.fromkeys(mentions))


def _is_called(text: str, start: int, end: int, joint: str, before_called: bool) -> bool:
    """Whether the name at text[start:end] calls somebody: "Bo, listen", "listen, Bo", "oh Bo!".

    `joint` is the text that joins it to the name before, such as " and "; `before_called` is
    whether that name was called.
    """
    before, after = text[max(0, start - 24) : start].rstrip(), text[end : end + 60]
    if not _STOPS.match(after) and not _AND.match(after):
        return False
    if joint and before_called:
        return True
    if joint.strip() not in ("", ",", "،") or _RELATIVE.match(after):
        return False
    if _STARTS.search(before):
        return True
    if _AND.match(after):
        return False
    return before.endswith((",", "，", "、", "،")) or _BEFORE.search(before) is not None


_AND = re.compile(r",? (?:and|&) [^\Wa-z](?:\w|[.'’-]){0,30}(?:[,!.]|$)")
_QUOTED = re.compile(r"\"[^\"]*\"|“[^”]*”")


def _is_subject(text: str, start: int, end: int) -> bool:
    """Whether a sentence is about the name and begins with it: "Bo will hold the rope"."""
    if not _STARTS.search(text[max(0, start - 8) : start]):
        return False
    return _SUBJECT.match(text[end : end + 20]) is not None


@lru_cache(maxsize=1024)
def _known(cast: Cast, speaker: str) -> _Known:
    own = {fold(f) for name, aliases in cast if name == speaker for f in (name, *aliases)}
    owner = {f: who for f, who in owners(cast).items() if who != speaker and f not in own}
    written: set[str] = set()
    for name, aliases in cast:
        written |= {name, *aliases, *short_forms(name)}
        # "the porter" is called without a capital, and so is an alias.
        roles = [*aliases, *([name, name.split()[-1]] if name.startswith("The ") else [])]
        written |= {role.lower() for role in roles}
    forms = {f for f in written if fold(f) in owner}
    forms |= {f[0].upper() + f[1:] for f in forms if " " in f}
    longest = spellings(forms)
    either = "|".join(map(re.escape, longest)) or r"(?!)"
    # Scripts without spaces between words (李明你来) have no boundary to look for.
    spaced = "|".join(re.escape(f) for f in longest if not _UNSPACED.search(f)) or r"(?!)"
    packed = "|".join(re.escape(f) for f in longest if _UNSPACED.search(f)) or r"(?!)"
    return _Known(
        owner,
        re.compile(
            rf"(?<![{LETTER}])(?:{spaced})(?![{LETTER}]|['’](?:s|d|ll|ve)\b|['’] \w)"
            rf"|(?:{packed})(?![{MARKS}])"
        ),
        re.compile(
            r"\((?:[^()]{0,60}?(?<!next )(?<!close )\b)?(?:to|towards?|(?:look|glanc|glar|star|smil"
            rf"|nod|wink|wav|shout|yell)\w{{0,4}} at)\s+(?:the\s+)?({either})(?![{LETTER}]|['’]s)",
            re.IGNORECASE,
        ),
    )


_UNSPACED = re.compile(f"[{UNSPACED}]")
