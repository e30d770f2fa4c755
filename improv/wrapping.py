"""Unwraps what a model sends: takes reasoning off a reply, and finds the JSON object in it.

Models put much around what they were asked for: their reasoning, in one of many marks; a fence of
Markdown; a sentence before and after; a list, or one more object, around the object. Everything
that comes back goes through here: lines, diaries, the author's JSON, the verdicts of judges. Text
in, text or fields out; each step that was needed is named. What a line is, improv.stage.reply
decides.

A text is scanned a fixed number of times, and only its first REPLY_LIMIT characters are parsed.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from improv.text import REPLY_LIMIT, strip_special_tokens, visible

Json = dict[str, Any]

# --- reasoning

_THOUGHT = (
    r"think(?:ing)?|thoughts?|thought_process|reason(?:ing)?|reflect(?:ion)?|scratch_?pad|analysis"
    r"|chain_of_thought|cot|inner(?:_monologue)?|monologue|deliberat(?:e|ion)|ponder(?:ing)?"
    r"|plan(?:ning)?|思考|推理"
)
_ANSWER = r"answer|final_answer|final|response|reply|output|solution|line|result"


def _mark(words: str) -> re.Pattern[str]:
    """Return the pattern of an opening or closing mark: <x>, </x>, <|x|>, [X], (X), ◁x▷, <ns:x>,
    <|begin_of_x|>, <|END_X|>."""
    return re.compile(
        r"(?P<open><\|?|\[|\(|\{|[◁【⟨〈])(?=/?\w)(?P<end>/|end[_ ](?:of[_ ])?)?"
        rf"(?:(?:begin|start)[_ ](?:of[_ ])?)?(?:[\w.-]{{1,20}}:)?(?P<word>{words})"
        r"(?:[_ ](?:start|begin|prefix|(?P<stop>end|stop|suffix)))?(?:\s[\w-]{1,20}=[^<>\n]{0,80})?"
        r"\s?(?:\|?>|\]|\)|\}|[▷】⟩〉])",
        re.IGNORECASE,
    )


_THINK = _mark(_THOUGHT)
_REPLIED = _mark(_ANSWER)
_NUMBERED = re.compile(r"<unused9([45])>(?:thought\b)?")
_DETAILS = re.compile(r"\s{0,9}<details[^<>\n]{0,200}>.*?(?:</details>|\Z)", re.DOTALL | re.I)
_CHANNEL = re.compile(
    r"<\|channel\|>\s?(\w{1,20})[^<\n]{0,60}(?:<\|constrain\|>\s?\w{0,20}\s?)?(?:<\|message\|>)?"
)
_CHANNEL_END = re.compile(r"<\|(?:end|return|call|start)\|>")
_OPEN_CHANNEL = re.compile(
    r"<\|channel>\s{0,3}(?:thought|analysis)\b.*?(?:<channel\|>|\Z)", re.DOTALL
)
_BARE_CHANNEL = re.compile(r"\s{0,9}(?:assistant)?(?:analysis|commentary)(?=[A-Z\"'“]|\W)")
_BARE_FINAL = re.compile(r"assistant\s{0,3}final(?=\W|[A-Z\"'“]|$)")
_OPEN_BARE = re.compile(r"\s{0,9}(?:assistant)?analysis(?=[A-Z][a-z'’]{0,12} )")
_HEADING = re.compile(
    r"\s{0,9}(?:[#*_]{1,4}\s?)?(?:my |the )?(?:thinking|reasoning|thoughts?|thought process"
    r"|chain of thought|internal monologue)(?: process)?\s?(?::\s?[*_]{0,3}|[*_]{1,3}:?)\s"
    r"|\s{0,9}here(?: i|['’])s my thought process:?",
    re.IGNORECASE,
)
_HEADED_ANSWER = re.compile(
    r"^[ \t]{0,9}(?:[#*_]{1,4}\s?)?(?:(?:my |the )?(?:final )?(?:response|answer|reply|line|output)"
    r"\s?(?::\s?[*_]{0,3}|[*_]{1,3}:?)(?=\s)|here(?: i|['’])s my response:?)\s?",
    re.IGNORECASE | re.MULTILINE,
)
_THINKING_FENCE = re.compile(
    r"\s{0,9}```[ \t]?(?:think(?:ing)?|thoughts?|reasoning)[ \t]?\n.*?(?:\n```|\Z)",
    re.DOTALL | re.I,
)
_MAY_REASON = re.compile(
    r"[<\[({◁【⟨〈`]|assistant|^\s*analysis|^[\s#*_]*(?:my |the )?(?:thinking|reason|thought"
    r"|chain of|internal|here)",
    re.IGNORECASE,
)
_ROUND = "[({"


def strip_reasoning(text: str) -> str:
    """Remove the reasoning of a model: text between reasoning marks, the text before a closing mark
    that has no opening one, and the text after an opening mark that has no closing one."""
    if not _MAY_REASON.search(text):
        return text
    text = _channels(text)
    if _THINKING_FENCE.match(text):
        text = _THINKING_FENCE.sub("", text, count=1)
    if _DETAILS.match(text):
        text = _DETAILS.sub("", text, count=1)
    text = _between_marks(text)
    text = _answered(text)
    if heading := _HEADING.match(text):
        answers = [*_HEADED_ANSWER.finditer(text, heading.end())]
        text = text[answers[-1].end() :] if answers else text
    return text


def _channels(text: str) -> str:
    """Return what a reply says in its final channel; the whole text if it has no channels."""
    if "<|channel|>" in text:
        marks = [*_CHANNEL.finditer(text)]
        ends = [m.start() for m in marks[1:]] + [len(text)]
        finals = [
            _CHANNEL_END.split(text[m.end() : end], maxsplit=1)[0]
            for m, end in zip(marks, ends, strict=True)
            if m[1].casefold() == "final"
        ]
        if marks:
            return (
                finals[-1]
                if finals
                else text[: marks[0].start()].removesuffix("<|start|>assistant")
            )
    if "<|channel>" in text:
        text = _OPEN_CHANNEL.sub("", text)
    if "final" in text and "assistant" in text:
        bare = [*_BARE_FINAL.finditer(text)]
        # The marks of the channels are lost here, and their names are run into the words.
        if bare and (_BARE_CHANNEL.match(text) or not text[: bare[-1].start()].strip()):
            return text[bare[-1].end() :]
    return "" if _OPEN_BARE.match(text) else text


def _between_marks(text: str) -> str:
    pairs: list[tuple[int, int, bool]] = []
    round_ones: list[tuple[int, int, bool, str]] = []
    for m in _THINK.finditer(text):
        opening, end, word, stop = m.groups()
        closes = end is not None or stop is not None
        if opening in _ROUND:
            round_ones.append((*m.span(), closes, word))
        else:
            pairs.append((*m.span(), closes))
    if round_ones:
        # "(thinking)" is a stage direction unless the same mark is closed; "[THINK]" is a mark.
        closed = {word.casefold() for _, _, closes, word in round_ones if closes}
        for begin, after, closes, word in round_ones:
            if word == "THINK" or word.casefold() in closed:
                pairs.append((begin, after, closes))
    if "<unused9" in text:
        pairs += [(*m.span(), m[1] == "5") for m in _NUMBERED.finditer(text)]
    if not pairs:
        return text
    kept: list[str] = []
    start, thinking = 0, False
    for begin, after, closes in sorted(pairs):
        if closes:
            kept = kept if thinking else []
            thinking = False
        else:
            if not thinking:
                kept.append(text[start:begin])
            thinking = True
        start = after
    return "".join(kept) + ("" if thinking else text[start:])


def _answered(text: str) -> str:
    """Return what stands between the last marks of an answer; the whole text if there are none."""
    begin, until = None, len(text)
    for m in _REPLIED.finditer(text):
        opening, end, word, stop = m.groups()
        if opening in _ROUND and not word.isupper():
            continue
        if end is None and stop is None:
            begin, until = m.end(), len(text)
        elif begin is not None and until == len(text):
            until = m.start()
    return text if begin is None else text[begin:until]


def own_words(reply: str) -> str:
    """Return a reply as its own model is reminded of it: without its reasoning, which no prompt
    has, and else as it was."""
    words = strip_reasoning(reply)
    return reply if words == reply else words.strip()


def plain_words(reply: str) -> tuple[str, tuple[str, ...]]:
    """Return the words of a reply that is a text of its own, such as a diary, and the steps."""
    steps: list[str] = []
    text = _step("reasoning", reply, strip_reasoning(reply), steps)
    text = _step("tokens", text, strip_special_tokens(text[:REPLY_LIMIT]), steps).strip()
    fence = _FENCE.fullmatch(text)
    return _step("fence", text, fence[1] if fence else text, steps), tuple(steps)


_UNKNOWN = re.compile(
    r"\s{0,9}(?:<\|?[A-Za-z][\w:.-]{1,40}\|?>|\[(?P<word>[A-Z][A-Z_]{2,30})\](?=.{0,9999}\[/(?P=word)\])"
    r"|[◁⟪⟦][^▷⟫⟧\n]{1,40}[▷⟫⟧])|.{0,9999}</[A-Za-z][\w:.-]{1,40}>",
    re.DOTALL,
)


def has_unknown_marks(text: str) -> bool:
    """Return whether a text without its reasoning still begins with a mark, or holds a closing one:
    its reasoning may be marked in a way that no rule knows."""
    return _UNKNOWN.match(text) is not None


# --- the JSON object in a reply


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields that were read from a reply, None if it cannot be read, and the steps taken."""

    values: Json | None
    steps: tuple[str, ...] = ()


_DECODER = json.JSONDecoder(strict=False)
_MAX_OBJECTS = 50
"""Places of a reply at which an object may begin, at most."""
_MAX_DEPTH = 4
_FENCE = re.compile(r"```[ \t]*[\w+-]{0,20}[ \t]*\n?(.*?)(?:```|\Z)", re.DOTALL)
_TRAILING_COMMA = re.compile(r",(\s*[}\]])")
_CURLY_QUOTES = str.maketrans("“”„«»", '"""""')
_LITERALS = re.compile(r"\b(?:true|false|null)\b")
_PYTHON = {"true": "True", "false": "False", "null": "None"}
_AROUND = " \t\n\r*_`\"'“”‘’.,;:!()[]<>"


def read_fields(
    reply: str, schema: Json, others: Mapping[str, Mapping[str, str]] | None = None
) -> Fields:
    """Read the object that `schema` describes from a reply, with the names and choices of the
    schema, whatever is around it and however its words are written.

    The schema is flat: texts, choices between texts, and true or false. `others` has further words
    for the choices of a field, casefolded. A reply in which several different objects fit says
    nothing; fields that a reply leaves out, or that are null, are left out of the values.
    """
    wanted: Json = schema["properties"]
    try:
        value = json.loads(reply)
    except (ValueError, RecursionError):
        pass
    else:
        if isinstance(value, dict) and value.keys() == wanted.keys():
            fitted = _fit(value, wanted, others or {})
            if fitted is not None:
                return Fields(fitted[0], tuple(fitted[1]))
    steps: list[str] = []
    text = _step("reasoning", reply, strip_reasoning(reply), steps)
    text = _step("tokens", text, strip_special_tokens(visible(text[:REPLY_LIMIT])), steps).strip()
    found: list[tuple[Json, list[str]]] = []
    for value, way in _values(text):
        if (read := _fit_within(value, wanted, others or {}, 0)) is not None:
            found.append((read[0], [*steps, *way, *read[1]]))
    if not found and (bare := _bare(text, wanted, others or {})) is not None:
        found.append((bare[0], [*steps, bare[1]]))
    if not found or any(values != found[0][0] for values, _ in found):
        return Fields(None, tuple(steps))
    return Fields(found[0][0], tuple(dict.fromkeys(found[0][1])))


def _step(name: str, before: str, after: str, steps: list[str]) -> str:
    if before.strip() != after.strip():
        steps.append(name)
    return after


def _values(text: str) -> Iterator[tuple[Any, list[str]]]:
    """Yield the JSON values of a text, each with the steps that lead to it: those in its fences, or
    else those among its words, or else one that is no quite correct JSON."""
    whole = _parsed(text)
    if whole is not None:
        yield whole, []
        return
    some = False
    for fence in _FENCE.finditer(text):
        value = _parsed(fence[1].strip())
        if value is not None:
            some = True
            alone = fence[0].strip() == text
            yield value, ["fence"] if alone else ["prose", "fence"]
    if some:
        return
    at, tries = 0, 0
    while tries < _MAX_OBJECTS and (at := text.find("{", at)) >= 0:
        tries += 1
        try:
            value, at = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            at += 1
        else:
            some = True
            yield value, ["prose"]
    begin, end = text.find("{"), text.rfind("}")
    if not some and 0 <= begin < end:
        value = _parsed_loosely(text[begin : end + 1])
        if value is not None:
            around = (begin, end + 1) != (0, len(text))
            yield value, ["prose", "loose"] if around else ["loose"]


def _parsed(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError):
        return None


def _parsed_loosely(text: str) -> Any:
    """Return the value of a text that is nearly JSON: a comma too many, curly quotes, or Python."""
    for nearly in (text, text.translate(_CURLY_QUOTES)):
        value = _parsed(_TRAILING_COMMA.sub(r"\1", nearly))
        if value is not None:
            return value
    if sum(map(text.count, "([{")) > _MAX_OBJECTS:
        return None
    try:
        return ast.literal_eval(_LITERALS.sub(lambda m: _PYTHON[m[0]], text))
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def _fit_within(
    value: Any, wanted: Json, others: Mapping[str, Mapping[str, str]], depth: int
) -> tuple[Json, list[str]] | None:
    """Return the fields of a value, or of the one value inside of it that has them."""
    if depth > _MAX_DEPTH:
        return None
    if isinstance(value, str) and "{" in value:
        inner = _parsed(value.strip())
        read = _fit_within(inner, wanted, others, depth + 1) if inner is not None else None
        return (read[0], ["quoted", *read[1]]) if read else None
    if isinstance(value, list):
        step, parts = "list", value
    elif isinstance(value, dict):
        fitted = _fit(value, wanted, others)
        if fitted is not None:
            return fitted
        step, parts = "nested", list(value.values())
    else:
        return None
    reads = [_fit_within(part, wanted, others, depth + 1) for part in parts[:_MAX_OBJECTS]]
    several = [read for read in reads if read is not None]
    if not several or any(values != several[0][0] for values, _ in several):
        return None
    return several[0][0], [step, *several[0][1]]


def _fit(
    value: Json, wanted: Json, others: Mapping[str, Mapping[str, str]]
) -> tuple[Json, list[str]] | None:
    """Return the wanted fields of an object and the steps; None if it has none of them, or one of
    another kind than the schema says."""
    steps: dict[str, None] = {}
    keys = {_folded(key): key for key in reversed(value)}
    values: Json = {}
    for name, kind in wanted.items():
        key = name if name in value else keys.get(_folded(name))
        if key is None or value[key] is None:
            continue
        if key != name:
            steps["keys"] = None
        read, exact = _of_kind(value[key], kind, others.get(name, {}))
        if read is None:
            return None
        if not exact:
            steps["words"] = None
        values[name] = read
    if not values:
        return None
    if len(value) > sum(n in values or value.get(n, 0) is None for n in wanted):
        steps["more keys"] = None
    return values, [*steps]


def _folded(word: str) -> str:
    return "".join(c for c in word.casefold() if c.isalnum())


def _of_kind(value: Any, kind: Json, others: Mapping[str, str]) -> tuple[Any, bool]:
    """Return a value as its kind says it, None if it is none, and whether it was so written."""
    if isinstance(value, list) and len(value) == 1:
        return _of_kind(value[0], kind, others)[0], False
    if kind.get("type") == "boolean":
        if isinstance(value, bool):
            return value, True
        word = str(value).strip(_AROUND).casefold()
        return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(
            word
        ), False
    if not isinstance(value, str):
        return None, False
    choices: Sequence[str] | None = kind.get("enum")
    if choices is None or value in choices:
        return value, True
    return choice_of(value, choices, others), False


def choice_of(
    value: str, choices: Sequence[str], others: Mapping[str, str] | None = None
) -> str | None:
    """Return the one of `choices` that a text names, whatever its case and what is around it."""
    word = " ".join(value.split()).strip(_AROUND).casefold()
    same = [c for c in choices if " ".join(c.split()).strip(_AROUND).casefold() == word]
    if len(same) == 1:
        return same[0]
    other = (others or {}).get(word)
    return other if other in choices else None


_NAMED_LINE = re.compile(r"^[\W_]{0,9}([\w ]{1,40})[\W_]{0,4}[:=：]\s?(.{0,2000})$", re.MULTILINE)


def _bare(
    text: str, wanted: Json, others: Mapping[str, Mapping[str, str]]
) -> tuple[Json, str] | None:
    """Return the fields of a reply that is no JSON: one choice alone, or a line for each field."""
    if len(wanted) == 1:
        ((name, kind),) = wanted.items()
        choices = kind.get("enum")
        before, colon, after = text.partition(":")
        word = after if colon and _folded(before) == _folded(name) else text
        choice = choice_of(word, choices, others.get(name)) if choices else None
        if choice is not None:
            return {name: choice}, "bare"
    if "{" in text:
        return None
    lines = [(m[1], m[2].strip(' \t*_`"“”')) for m in _NAMED_LINE.finditer(text)]
    fields = dict(lines)
    if len(fields) != len(lines):
        return None
    read = _fit(fields, wanted, others)
    return (read[0], "lines") if read is not None and len(read[0]) == len(wanted) else None
