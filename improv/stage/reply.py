"""Cleans a model's reply until only the words that its character says are left. Text in, text out.

Each rule is small and has a name, which a turn keeps in its `cuts`. Rules only remove (a cue, a
quotation mark, another character's line); none adds or repairs a word. A reply with no spoken words
becomes a silence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import lru_cache

from improv.stage.names import LETTER, Cast, fold, owners, short_forms, spellings
from improv.text import (
    REPLY_LIMIT,
    directions_in_parentheses,
    strip_asterisks,
    strip_markdown,
    strip_preface,
    strip_special_tokens,
    visible,
)
from improv.wrapping import has_unknown_marks, strip_reasoning

MAX_LINE = 2000
"""Maximum characters of a line. A longer one is cut after the last sentence that fits."""


UNKNOWN_MARKS = "unknown marks"
"""The cut that changes nothing: marks are left in the line that no rule knows."""


@dataclass(frozen=True, slots=True)
class CleanLine:
    """A line after cleaning. `cuts` names the rules that applied, in order of their first use.

    Only `aside_to` hears an aside, a name of the cast; if that is "", nobody on the stage does.
    """

    text: str
    cuts: tuple[str, ...] = ()
    aside: bool = False
    aside_to: str = ""


def clean(
    raw: str, speaker: str, cast: Sequence[str], aliases: Mapping[str, Sequence[str]] | None = None
) -> CleanLine:
    """Return the line that `speaker` says in `raw`. To clean its text again changes nothing.

    `aliases` are further names of the cast.
    """
    text = raw.strip()
    channels = text.startswith(_CHANNELS) or "assistantfinal" in text
    plain = len(text) <= MAX_LINE and not channels and _PLAIN.fullmatch(text)
    if plain and not _SUSPECT.search(text):
        return CleanLine(text)
    further = aliases or {}
    names = _names(speaker, tuple((name, tuple(further.get(name, ()))) for name in cast))
    result = _Result()
    # One rule can uncover text for another. Every pass that changes anything makes the text
    # shorter or plainer, so this ends.
    while (cleaned := _pass(text, names, result)) != text:
        text = cleaned
    if has_unknown_marks(text):
        result.cuts[UNKNOWN_MARKS] = None
    return CleanLine(text, tuple(result.cuts), result.aside, result.aside_to)


# The characters of a plain line. Most replies are plain lines, and no rule applies to them.
_PLAIN = re.compile(r"[^\W_](?:[^\W_]|[,.!?'’…—–-]| (?! ))*")
_SUSPECT = re.compile(r"\b(?:AI|language model|[Ss]cene|THE END|FADE|CURTAIN|[Aa]side)\b")
# Reasoning whose marks were lost; to look for a text is cheaper than for a pattern.
_CHANNELS = ("analysis", "assistant")


@dataclass(slots=True)
class _Result:
    """The cuts and the aside of a reply, while it is cleaned."""

    cuts: dict[str, None] = field(default_factory=dict)
    aside: bool = False
    aside_to: str = ""

    def rule(self, name: str, before: str, after: str) -> str:
        if before != after:
            self.cuts[name] = None
        return after


@dataclass(frozen=True, slots=True)
class _Names:
    """The patterns of one speaker in one cast."""

    speaker: str
    forms: frozenset[str]
    others: dict[str, str]
    own: re.Pattern[str]
    own_later: re.Pattern[str]
    any_cue: re.Pattern[str]
    other_first: re.Pattern[str]
    inline: re.Pattern[str]
    echo: re.Pattern[str]
    mine: re.Pattern[str]


_DECO = r"[\s>#*_\[“\"]{0,12}"
_HOW2 = r"(?:[\s*_]{0,4}[(\[][^()\[\]\n]{0,200}[)\]])?"
_HOW = r"(?:[\s*_]{0,4}[(\[](?P<how>[^()\[\]\n]{0,200})[)\]])?"
_COLON = r"[\]*_”\"\s]{0,8}[:：][*_]{0,4}\s{0,8}"


@lru_cache(maxsize=4096)
def _names(speaker: str, cast: Cast) -> _Names:
    exact = {fold(f) for name, aliases in cast if name != speaker for f in (name, *aliases)}
    aliases = next((aliases for name, aliases in cast if name == speaker), ())
    # A short form that others have too is still the speaker's own cue, because nobody else is due.
    mine = [
        f
        for f in dict.fromkeys((speaker, *aliases, *short_forms(speaker)))
        if f == speaker or fold(f) not in exact
    ]
    own_forms = {fold(f) for f in mine}
    forms = (f for n, more in cast if n != speaker for f in (n, *more, *short_forms(n)))
    written = [form for form in forms if fold(form) not in own_forms]
    owner = owners(cast)
    others = {form: owner[form] for form in map(fold, written) if form in owner}

    def either(forms: Sequence[str]) -> str:
        return "|".join(re.escape(f) for f in spellings(forms)) or r"(?!)"

    me, they = either(mine), either(written)
    inlined = either([*written, *mine])
    they_caps = "|".join(re.escape(f.upper()) for f in written if f.upper() != f.lower()) or r"(?!)"
    shouted = either([n.upper() for n, _ in cast if n.upper() not in (n, n.lower())])
    i = re.IGNORECASE
    own_cue = rf"{_DECO}(?:{me}){_HOW}{_COLON}"
    return _Names(
        speaker,
        frozenset(own_forms),
        others,
        # NAME:, NAME (smiling), NAME, "...
        own=re.compile(
            rf"{own_cue}|{_DECO}(?:{me})[*_]{{0,3}} \((?P<how2>[^()\n]{{0,200}})\)\s{{0,8}}"
            rf"|(?:{me}),? (?=[\"“])",
            i,
        ),
        own_later=re.compile(rf"{own_cue}|(?:{me})[,*_]{{0,3}} \([^()\n]{{0,200}}\)", i),
        any_cue=re.compile(
            rf"{_DECO}\(?(?:{me}|{they}){_HOW}{_COLON}|(?:{me}),? (?:\(|[\"“])"
            rf"|(?-i:(?:{they_caps})\s*$)",
            i,
        ),
        # "Bo: the best dog" may be said by Mara; "Bo: The best dog." and "BO: ..." are Bo's.
        other_first=re.compile(
            rf"(?i:{_DECO})(?:(?:{they_caps})(?i:{_HOW}{_COLON})"
            rf"|(?i:(?:{they}){_HOW2}{_COLON})(?!\s*[a-zß-öø-ÿ]))"
        ),
        inline=re.compile(
            rf"(?<=[.!?…\"”'’)\]*_。！？؟।」』])\s{{0,4}}(?<![{LETTER}])[*_\[]{{0,3}}(?:{inlined}){_HOW}"
            rf"[\]*_]{{0,3}}[:：](?=\s{{0,8}}[^\sa-z])"
            rf"|(?<=\s)[*_\[]{{0,3}}(?:{shouted}){_HOW2}[\]*_]{{0,3}}[:：]"
        ),
        echo=re.compile(rf"\((?:{me}|{they}), (?:your|his|her|their|the) [^()\n]{{0,30}}\)", i),
        mine=re.compile(
            rf"{_DECO}(?:{me})['’]s (?:next )?(?:line|turn|response|reply)(?: (?:is|would be))?"
            rf"\s?[:：]?\s*(?=[\"“\n]|(?-i:[A-Z]))",
            i,
        ),
    )


def _pass(text: str, names: _Names, result: _Result) -> str:
    text = result.rule("reasoning", text, strip_reasoning(text))
    text = result.rule("long", text, text[:REPLY_LIMIT])
    text = result.rule("control", text, visible(text))
    text = result.rule("tokens", text, strip_special_tokens(text)).strip()
    text = result.rule("boilerplate", text, strip_preface(text, names.mine))
    text = result.rule("markup", text, strip_markdown(text))
    text = _own_line(text, names, result)
    text = _inline(text, names, result)
    text = result.rule("direction", text, directions_in_parentheses(text))
    text = result.rule("markup", text, strip_asterisks(text))
    text = " ".join(text.split())
    text = _asides(text, names, result)
    if not _SAYS.search(text):
        return result.rule("empty", text, "")
    return result.rule("long", text, _fitting(text))


_SAYS = re.compile(r"[^\s\-*_#:\"'“”()\[\]<>|~=,;/\\`]")

# --- whose line it is

_RULE = re.compile(r"\s*(?:[*\-_=~#•·—]\s*){3,}$")
_ENDING = re.compile(
    r"[\[(*_]{0,3}(?:Note:|(?:The )?[Ee]nd (?:of )?(?:the )?[Ss]cene|END OF SCENE|THE END\b"
    r"|The scene (?:ends|continues)|[Cc]ontinue the scene|FADE (?:OUT|IN|TO)\b|Fade (?:out|to)\b"
    r"|(?:CURTAIN|Curtain|BLACKOUT|Blackout)\.?[\])*_]{0,3}$"
    r"|(?:SCENE|ACT|Scene|Act) (?:[IVX\d]{1,4}|[Oo]ne|ONE|[Tt]wo|TWO)\b)"
)
# ROLE: or ROLE (doing something): or a cast list's ROLE, who ...
_INVENTED = re.compile(
    r"(?:The )?[A-Z][A-Z'’.-]{1,60}(?: [A-Z0-9][A-Z0-9'’.-]{0,30}){0,4}(?: ?\([^()\n]{0,80}\)?)?"
    r"\s{0,2}(?:[:：]|,\s(?:who|whose|an?|the|his|her|\d))|(?:The )?[A-Z][A-Z'’.-]{3,60} \("
    r"|[A-Z]: "
)
# Where the speaker's line has a cue, so has the line of somebody who is not in the cast.
_LABEL_OF = re.compile(
    rf"[\s>#*_\[“\"]{{0,12}}[^\W\d_a-z][{LETTER}.'’-]{{0,30}}"
    rf"(?: [^\W\d_a-z][{LETTER}.'’-]{{0,30}}){{0,3}}(?: ?\([^()\n]{{0,80}}\))?[*_\]]{{0,3}}\s?[:：]"
    r"[*_]{0,3}\s{0,8}(?=[^\sa-z])"
)
_ROLES = re.compile(r"(?:user|human|system|assistant|narrator|director|author|audience) ?:", re.I)
_MARKER = re.compile(
    r"\s{0,9}[\[(*]{1,3}(?:the )?(?:end of (?:the )?scene|end scene|scene ends?|the end|curtain"
    r"|fade (?:out|to black)|to be continued)\.?[\])*]{1,3}",
    re.I,
)
_ALL_DIRECTION = re.compile(r"\s*(?:\([^()\n]{1,600}\)|\*[^*\n]{1,600}\*|\[[^\[\]\n]{1,600}\])\s*$")


def _own_line(text: str, names: _Names, result: _Result) -> str:
    """Return the speaker's own line, of all that the model wrote, on one line."""
    lines = text.split("\n")
    first = next((i for i, line in enumerate(lines) if line.strip()), len(lines))
    lines = lines[first:]
    if not lines:
        return ""
    if len(lines) > 1 and fold(lines[0].strip()) in names.forms and lines[1].strip():
        lines = lines[1:]  # a screenplay: the name stands alone above the line
        result.cuts["cue"] = None
    lines, script = _from_own_cue(lines, names, result)
    if script and not lines:
        return ""
    if len(lines) > 1 and fold(lines[0].strip()) in names.forms and lines[1].strip():
        lines = lines[1:]  # a screenplay: the name stands alone above the line
        result.cuts["cue"] = None
    head = lines[0]
    lines[0] = _uncued(head, names, result)
    labelled = lines[0] != head
    kept: list[str] = []
    spoke = False
    for i, line in enumerate(lines):
        if i and (_ends_before(line, names, spoke) or (labelled and _LABEL_OF.match(line))):
            result.cuts["others"] = None
            break
        if not line.strip():
            if spoke:
                if any(rest.strip() for rest in lines[i:]):
                    result.cuts["after"] = None
                break
            continue
        kept.append(line)
        spoke = spoke or not _ALL_DIRECTION.match(line)
    if len(kept) > 1:
        result.cuts["joined"] = None
    return " ".join(kept)


def _from_own_cue(lines: list[str], names: _Names, result: _Result) -> tuple[list[str], bool]:
    """Return the lines from the speaker's first cue on, if the reply begins as a script: with
    another's line, a rule, or a direction alone. True if it is a script; the speaker may have no
    line in it."""
    head = lines[0]
    if names.own.match(head):
        return lines, False
    ruled = _RULE.match(head) is not None
    foreign = names.other_first.match(head) is not None or _ROLES.match(head) is not None
    direction = _ALL_DIRECTION.match(head) is not None
    invented = _INVENTED.match(head) is not None
    title = head.isupper() and len(lines) > 1 and head.rstrip()[-1].isalnum() and len(head) > 3
    if not (ruled or foreign or direction or invented or title or _is_end(head)):
        return lines, False
    for i, line in enumerate(lines):
        if names.own_later.match(line) or _misspelt(line, names):
            if i:
                result.cuts["others"] = None
            return lines[i:], True
        if i and direction and not _ALL_DIRECTION.match(line) and line.strip():
            if not _INVENTED.match(line) and not names.other_first.match(line):
                return lines, False
            direction = False
            foreign = True
    if invented and not foreign:
        return lines, False  # "WARNING: the bridge is out" is as good a line as any.
    if direction and not foreign:
        return lines, False
    if ruled and "*" not in head:  # "* * *" is how our own scripts begin; "---" is only a rule.
        result.cuts["markup"] = None
        return _from_own_cue(lines[1:], names, result) if lines[1:] else ([], True)
    result.cuts["others"] = None
    return [], True


def _misspelt(line: str, names: _Names) -> bool:
    """Whether `line` begins with a cue that is the speaker's name with a spelling mistake."""
    cue, colon, _ = line[:60].partition(":")
    if not colon or not cue.isupper() or names.any_cue.match(line):
        return False
    return SequenceMatcher(None, cue.strip(), names.speaker.upper()).ratio() > 0.85


def _uncued(line: str, names: _Names, result: _Result) -> str:
    """Remove the speaker's own cue, also a repeated one; an aside in the cue stays marked."""
    before, how = line, ""
    while cue := names.own.match(line):
        how = cue.groupdict().get("how") or cue.groupdict().get("how2") or ""
        line = line[cue.end() :]
        if how and _private(how, names) is not None:
            line = f"({how}) {line}"
            break
    if line == before and _misspelt(line, names):
        line = line.partition(":")[2]
    return result.rule("cue", before, line)


def _ends_before(line: str, names: _Names, spoke: bool) -> bool:
    """Whether the speaker's line is over when `line` begins."""
    if names.any_cue.match(line) or _RULE.match(line) or _ENDING.match(line):
        return True
    if _INVENTED.match(line) or _ROLES.match(line) or names.echo.match(line):
        return True
    bare = line.strip()
    if spoke and _ALL_DIRECTION.match(line) and bare[1:2].isupper():
        return True
    return len(bare) > 3 and bare.isupper() and bare[-1].isalnum()


def _is_end(text: str) -> bool:
    """Whether a reply begins with the end of the scene. A character may well say "Note:"."""
    return len(text) < 40 and _ENDING.match(text) is not None and not text.startswith("Note:")


def _inline(text: str, names: _Names, result: _Result) -> str:
    """Cut the line where another line, an echo of our cue, or an end marker begins in it."""
    before = text
    if cue := names.inline.search(text):
        text = text[: cue.start()]
    if (echo := names.echo.search(text)) is not None:
        text = text[: echo.start()] if echo.start() else text[echo.end() :]
    if marker := _MARKER.search(text):
        text = text[: marker.start()]
    if _is_end(text):
        text = ""
    return result.rule("others", before, text)


# --- asides and quotation marks

_PAREN = re.compile(r"\(([^()]{1,600})\)\s?[:：]?\s*")
_LABEL = re.compile(r"(?:aside)(?: to (?P<to>[^:.!?,]{1,40}))?[:：]\s*", re.IGNORECASE)
_ASIDE = re.compile(r"(?:^|[,;] ?)(?:in an? |as an )?(?:\w{1,20}ly )?aside\b(?! from)", re.I)
_ALONE = re.compile(
    r"\bto (?:(?:him|her|them|my|your|one)sel(?:f|ves)|self|(?:the )?audience)\b", re.I
)
_HUSHED = re.compile(
    r"\b(?:whisper\w{0,3}|quietly|privately|in private|secretly|confidentially|sotto voce|"
    r"under \w{1,8} breath|in an? (?:low|hushed) (?:voice|tone))\b",
    re.I,
)
_TO = re.compile(rf"\b(?:to|in|into)\s+([{LETTER}.'’ -]{{1,60}})", re.I)


def _private(how: str, names: _Names) -> str | None:
    """Return the only hearer that the parenthetical `how` leaves ("" for nobody), or None if
    everybody hears the line.

    "(aside)" is private, and so is "(whispers to Bo)". "(to Bo)" only names the addressee, and a
    whisper without a name is a manner of speaking.
    """
    to = ""
    for m in _TO.finditer(how):
        words = re.split(r"['’]s?\b|\band\b", m[1])[0].split()
        ends = range(len(words), 0, -1)
        spans = [fold(" ".join(words[a:b])) for a in range(min(2, len(words))) for b in ends]
        to = to or next((names.others[s] for s in spans if s in names.others), "")
    if _ASIDE.search(how) or _ALONE.search(how):
        return to
    return to if to and _HUSHED.search(how) else None


def _asides(text: str, names: _Names, result: _Result) -> str:
    """Remove a leading aside; keep other leading directions, and unquote the text after them."""
    kept: list[str] = []
    rest = text
    while m := _PAREN.match(rest):
        to = _private(m[1], names)
        if to is None:
            kept.append(result.rule("cue", m[0].rstrip(), f"({m[1]})"))
        else:
            result.cuts["aside"] = None
            result.aside, result.aside_to = True, result.aside_to or to
        rest = rest[m.end() :]
    if label := _LABEL.match(rest):
        result.cuts["aside"] = None
        result.aside = True
        result.aside_to = result.aside_to or _private(f"aside to {label['to']}", names) or ""
        rest = rest[label.end() :]
    rest = result.rule("quotes", rest, _unquoted(rest))
    return " ".join([*kept, rest] if rest else kept)


_MARKS = '"“”„«»「」『』‟'
_QUOTES = re.compile(f"[{_MARKS}]")
_OPENING, _CLOSING = '"“„«»「『‟', '"”“»«」』'


def _unquoted(text: str) -> str:
    """Remove the quotation marks of a line that is quoted whole, or that has one mark at an end."""
    marks = _QUOTES.findall(text) if text else []
    if len(marks) == 2 and text[0] in _OPENING and text[-1] in _CLOSING:
        return text[1:-1].strip()
    if len(marks) == 1:
        if text[0] in _OPENING:
            return text[1:].strip()
        if text[-1] in _CLOSING and not text[-2:-1].isdigit():  # 6'2" is a height
            return text[:-1].strip()
    # A single mark is also an apostrophe: only one after a sentence's end closes a quotation.
    single = len(text) > 3 and text[0] in "'‘" and text[-1] in "'’" and text[-2] in ".!?…,—"
    if single and not re.search(r"(?<!\w)['‘’]|['’](?!\w)", text[1:-1]):
        return text[1:-1].strip()
    return text


def _fitting(text: str) -> str:
    if len(text) <= MAX_LINE:
        return text
    head = text[:MAX_LINE]
    end = max(head.rfind(mark) for mark in (". ", "! ", "? ", "… ", "。", "！", "？"))
    if end > 0:
        return head[: end + 1]
    space = head.rfind(" ")
    return head[:space] if space > 0 else head
