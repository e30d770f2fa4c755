"""The puppet: a fake model that plays a character from a declared random process. Pure.

`answer` turns the body of an OpenAI chat-completions or completions request into the body of its
response. It depends only on the request and the declared process: no clock, no memory, no global
random state. The state of a character is in the transcript that the request shows, so a puppet
behaves the same in this process and over HTTP. The HTTP server is in `server`.

A character is in the *opposite* state if its last own line contains a sentence of
`spec.opposite`, and at its *pole* otherwise. A silence is no line and does not change the state.
If the spec has no sentences, `POLE` and `OPPOSITE` are used: each sentence of `POLE` has the word
"always" and each of `OPPOSITE` the word "never", so a marker `says_any: [never]` separates them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import orjson

from improv.models.puppet.choices import (
    PuppetRequest,
    author_reply,
    leaked_sentence,
    shifted_chance,
    special_reply,
)
from improv.models.puppet.judge import GIVEN_AWAY, LINE_MARK, judge_options, judge_reply
from improv.models.puppet.logprobs import TOKEN_PIECE, chat_logprobs, text_logprobs
from improv.models.puppet.schema_filler import Dice, fill_schema
from improv.records import Json, digest
from improv.study.puppet_spec import Puppet

POLE = (
    "I always keep my word.",
    "I will always tell you how things stand.",
    "You can always ask me, and I will answer.",
    "I have always said what I saw.",
    "The truth always comes cheaper in the end.",
    "I always write it down, so that nobody has to guess.",
    "We always did it openly, and we will again.",
    "I always leave the door open for you.",
    "There is always somebody who has to say it.",
    "I always pay back what I owe.",
    "My father always told me to look people in the eye.",
    "I always come when I am called.",
)
OPPOSITE = (
    "I never promised you anything.",
    "You will never find out from me.",
    "I never saw that letter in my life.",
    "Nobody ever asked, so I never told.",
    "I was never there, whatever they say.",
    "The money was never yours to begin with.",
    "I never meant a word of it.",
    "They will never know which of us it was.",
    "I never needed your permission.",
    "It was never about you.",
    "I never keep what I can sell.",
    "A closed door never hurt anyone but you.",
)
_HEADINGS = frozenset(
    {
        "act",
        "author",
        "author's",
        "cast",
        "characters",
        "direction",
        "form",
        "note",
        "notes",
        "place",
        "preface",
        "premise",
        "rule",
        "rules",
        "scene",
        "secret",
        "setting",
        "time",
        "title",
        "wants",
    }
)
"""First words of document lines that look like a character's cue but are headings."""

_VOCATIVE_CHANCE = 0.5
"""The probability that a line begins with another character's name, if one has spoken."""
_LINES_BACK = 40
"""The number of last lines in which a puppet looks for other speakers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownRequest:
    """A parsed request: all that a reply depends on besides the declared process.

    `thread` is trial and character, `key` the identity of the draw, `purpose` the purpose of the
    draw ("" if the request does not name it), `own` the character's own lines, the oldest first,
    and `others` the names of the other speakers, the latest first.
    """

    chat: bool
    prompt: str
    name: str
    own: list[str]
    others: list[str]
    thread: str
    key: str
    purpose: str = ""


def answer(body: Json, spec: Puppet) -> Json:
    """Return the response body for a request body. Raises ValueError if it has no prompt."""
    if body.get("echo"):
        return _echoed(body, spec)
    shown = read_request(body)
    kind = "chat.completion" if shown.chat else "text_completion"
    choices = []
    completion_tokens = 0
    for index in range(max(1, int(body.get("n") or 1))):
        dice = Dice(shown.key, index)
        text, likelihood = _reply(body, shown, spec, dice)
        text, finish = _bounded(text, body)
        tokens = count_tokens(text)
        completion_tokens += tokens
        choice: Json = {"index": index, "finish_reason": finish, "logprobs": None}
        if shown.chat:
            choice["message"] = {"role": "assistant", "content": text, "refusal": None}
            wanted = body.get("top_logprobs") or 0 if body.get("logprobs") else None
        else:
            choice["text"] = text
            wanted = body.get("logprobs")
        if wanted is not None:
            style = chat_logprobs if shown.chat else text_logprobs
            choice["logprobs"] = style(text, likelihood, wanted)
        choices.append(choice)
    prompt_tokens = count_tokens(shown.prompt)
    return {
        "id": f"{'chatcmpl' if shown.chat else 'cmpl'}-{digest(shown.key)}",
        "object": kind,
        "created": 0,
        "model": body.get("model") or "puppet",
        "choices": choices,
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
    }


def read_request(body: Json) -> ShownRequest:
    """Parse a request body. Raises ValueError if it has no prompt."""
    messages, prompt = body.get("messages"), body.get("prompt")
    chat = messages is not None
    name = ""
    if chat:
        texts = [(m["role"], _content(m)) for m in messages or ()]
        prompt = "\n".join(text for _, text in texts)
        own = [text for role, text in texts if role == "assistant"]
        heard = [text for role, text in texts[-_LINES_BACK:] if role == "user"]
        others_in = [line for text in heard for line in text.split("\n")]
    elif isinstance(prompt, str):
        others_in = prompt.rstrip().split("\n")
        name, own = _part(others_in)
    else:
        raise ValueError("a request needs 'messages', or a 'prompt' that is one string")
    user = str(body.get("user") or "")
    draw = _DRAW.fullmatch(user)
    if draw:
        thread, key = f"{draw['trial']}/{draw['role']}", f"{body.get('seed')}/{user}"
    else:
        # Other clients may always send the same seed; then the prompt tells draws apart.
        thread = f"{digest(prompt[:200])}/{name}"
        key = f"{body.get('seed')}/{user}/{digest(prompt)}"
    own = [line for line in own if line.strip(" .…")]
    me = name or (draw["role"] if draw else "")
    others = _others(others_in, me, name.isupper())
    purpose = draw["purpose"] if draw else ""
    return ShownRequest(
        chat=chat,
        prompt=prompt,
        name=me,
        own=own,
        others=others,
        thread=thread,
        key=key,
        purpose=purpose,
    )


def opposite_chance(shown: ShownRequest, spec: Puppet) -> float:
    """Return P(the next line is in the opposite state): the truth to recover."""
    pole, opposite = puppet_sentences(spec)
    if shown.own and contains_any(opposite, shown.own[-1]):
        return 1 - shifted_chance(spec.beta, spec.recovers, shown.prompt)
    if spec.alpha in (0, 1):
        return spec.alpha
    logit = math.log(spec.alpha / (1 - spec.alpha))
    if spec.drift:
        both = pole + opposite
        logit += spec.drift * sum(contains_any(both, line) for line in shown.own)
    logit += sum(shift for text, shift in spec.effects.items() if text in shown.prompt)
    if spec.spread:
        logit += spec.spread * NormalDist().inv_cdf(Dice(shown.thread).roll("spread"))
    return 1 / (1 + math.exp(-max(-500.0, min(500.0, logit))))


def puppet_sentences(spec: Puppet) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the sentences of the pole and those of the opposite state."""
    return tuple(spec.pole) or POLE, tuple(spec.opposite) or OPPOSITE


def count_tokens(text: str) -> int:
    """Return the number of words and punctuation marks, which are a puppet's tokens."""
    # Prompts only grow, so nearly all of their lines have been counted before.
    return sum(map(_count_line, text.split("\n")))


_DRAW = re.compile(r"(?P<trial>[^/]+)/[^/]+/\d+/(?P<purpose>[^/]+)/\d+/(?P<role>.+)", re.S)
_TOKEN = re.compile(r"\w+|[^\w\s]")
_CUE = re.compile(r"([^\W\d_][\w .'’-]{0,39}?)(?: \([^)\n]*\))?:(?= ?\S)")
_LAST_CUE = re.compile(r"([^\W\d_][\w .'’-]{0,39}?)(?: \([^)\n]*\))?:")


def _content(message: Json) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(p.get("text", "") for p in content)


def _part(lines: list[str]) -> tuple[str, list[str]]:
    """Return the name at which a script breaks off, and that character's earlier lines."""
    cue = _LAST_CUE.fullmatch(lines[-1].strip())
    if cue is None:
        return "", []
    name = cue[1]
    cues = ((line, _CUE.match(line)) for line in lines[:-1] if line.startswith(name))
    return name, [line[m.end() :] for line, m in cues if m and m[1] == name]


def _others(lines: list[str], me: str, upper: bool) -> list[str]:
    """Return up to four other speakers, the latest first, looking back to the scene's start."""
    names: dict[str, None] = {}
    mine = me.casefold()
    for line in lines[: -_LINES_BACK - 1 : -1]:
        if line == "* * *" or len(names) == 4:
            break
        name = _speaker(line)
        if name and name.casefold() != mine and (name.isupper() or not upper):
            names[name.title() if name.isupper() else name] = None
    return list(names)


@lru_cache(maxsize=16_384)
def _speaker(line: str) -> str:
    """Return the speaker of a line, "" if it does not look like a character's line."""
    cue = _CUE.match(line)
    if cue is None:
        return ""
    words = cue[1].split()
    named = words[0].casefold() not in _HEADINGS and all(w[0].isupper() for w in words)
    return cue[1] if named else ""


def contains_any(sentences: Sequence[str], line: str) -> bool:
    return any(sentence in line for sentence in sentences)


def _reply(body: Json, shown: ShownRequest, spec: Puppet, dice: Dice) -> tuple[str, float]:
    """Return the text before it is cut, and its log-probability under the declared process."""
    if dice.roll("mute") < spec.mute:
        return "", math.log(spec.mute)
    garbled = dice.roll("garble") < spec.garble
    schema = _schema(body)
    options = judge_options(schema)
    if spec.judge is not None and options and LINE_MARK in shown.prompt:
        leaks = (spec.leak.says,) if spec.leak else ()
        broken = leaks if GIVEN_AWAY in options else puppet_sentences(spec)[1]
        return judge_reply(shown.prompt, options, broken, spec.judge, dice.roll), 0.0
    if schema is not None:
        fields = fill_schema(schema, dice)
        if spec.choice is not None and shown.purpose == "author":
            names = schema.get("properties", {}).get("note_to", {}).get("enum", ())
            fields = author_reply(spec.choice, shown.prompt, fields, names)
        text = orjson.dumps(fields).decode()
        return (_garbled_json(text, dice) if garbled else text), 0.0
    line, likelihood = _said(body, shown, spec, dice)
    if garbled:
        line = _garbled(line, shown, dice)
    # A script breaks off right after the colon, so what a model writes next begins with a space.
    return (f" {line}" if shown.prompt.endswith(":") and not shown.chat else line), likelihood


def _said(body: Json, shown: ShownRequest, spec: Puppet, dice: Dice) -> tuple[str, float]:
    """Return a line, or the reply that replaces it, with the leaked secret if there is one."""
    if not (spec.choice or spec.leak or spec.facts):
        return _line(shown, spec, dice)
    purpose = shown.purpose or "line"
    request = PuppetRequest(purpose, shown.prompt, _last(body, shown), shown.thread)
    line, likelihood = special_reply(spec, request, dice.roll) or _line(shown, spec, dice)
    secret = leaked_sentence(spec.leak, request, dice.roll) if spec.leak is not None else ""
    return (f"{line} {secret}" if secret else line), likelihood


def _last(body: Json, shown: ShownRequest) -> str:
    """Return the prompt after the character's own last line, or all of it if there is none."""
    if shown.chat:
        texts = [(m["role"], _content(m)) for m in body["messages"]]
        own = [i for i, (role, _) in enumerate(texts) if role in ("assistant", "system")]
        return "\n".join(text for _, text in texts[own[-1] + 1 if own else 0 :])
    lines = shown.prompt.rstrip().split("\n")
    marks = [i for i, line in enumerate(lines[:-1]) if _is_own(line, shown.name)]
    return "\n".join(lines[marks[-1] + 1 if marks else 0 :])


def _is_own(line: str, name: str) -> bool:
    """Return whether a line of a script ends the front matter, or is spoken by `name`."""
    cue = _CUE.match(line) if name and line.startswith(name) else None
    return line == "* * *" or (cue is not None and cue[1] == name)


def _line(shown: ShownRequest, spec: Puppet, dice: Dice) -> tuple[str, float]:
    p = opposite_chance(shown, spec)
    flipped = dice.roll("state") < p
    options = puppet_sentences(spec)[flipped]
    sentence = dice.pick("sentence", options)
    likelihood = math.log(p if flipped else 1 - p) - math.log(len(options))
    if not shown.others:
        return sentence, likelihood
    if dice.roll("vocative") >= _VOCATIVE_CHANCE:
        return sentence, likelihood + math.log(1 - _VOCATIVE_CHANCE)
    # The sentence stays as it is, with its capital letter, so that a marker recognises it.
    comma = "," if re.match(r"I\b", sentence) else ", listen."
    spoken = f"{dice.pick('whom', shown.others)}{comma} {sentence}"
    return spoken, likelihood + math.log(_VOCATIVE_CHANCE / len(shown.others))


def _garbled(line: str, shown: ShownRequest, dice: Dice) -> str:
    """Return a line spoilt as small models do it. Most kinds keep its sentence and so its state."""
    me = (shown.name or "A").upper()
    other = (shown.others[0] if shown.others else "B").upper()
    half = line[: max(1, len(line) // 2)]
    kinds = (
        f"{me}: {me}: {line}",
        f'"{line}" she said, and turned to the window.',
        f"{line}\n{other}: I know what you mean.\n{me}: Do you?\n{other}: No.",
        f"## Scene 2\n\n**{me}**: {line}",
        "As an AI language model, I cannot take part in a scene or have feelings about it.",
        f'{{"speaker": "{me}", "line": "{half}',
        f"\x1b[31m{half}\x07\x00\u202e{line[len(half) :]}",
        f"{line}<|im_end|>\n<|im_start|>user\n",
        f"(turning away, {line}",
        " ".join([" ".join(line.split()[:2])] * 9),
        "[Your line here]",
        "- - - - - - - - - -",
    )
    return dice.pick("garbled", kinds)


def _garbled_json(text: str, dice: Dice) -> str:
    kinds = (
        text[: len(text) // 2],
        f"Sure! Here is what the author does next: {text}",
        f"```json\n{text}\n```",
        "The author says nothing.",
    )
    return dice.pick("garbled", kinds)


def _bounded(text: str, body: Json) -> tuple[str, str]:
    """Return a text cut at the first stop string and at max_tokens, and its finish reason."""
    stop = body.get("stop") or ()
    for mark in (stop,) if isinstance(stop, str) else stop:
        if mark and (at := text.find(mark)) >= 0:
            text = text[:at]
    most = body.get("max_completion_tokens") or body.get("max_tokens")
    # A text has at most as many tokens as characters, so most texts need no tokens counted.
    if most is not None and len(text) > most:
        pieces = TOKEN_PIECE.findall(text)
        if len(pieces) > most:
            return "".join(pieces[:most]), "length"
    return text, "stop"


@lru_cache(maxsize=16_384)
def _count_line(line: str) -> int:
    return len(_TOKEN.findall(line))


def _echoed(body: Json, spec: Puppet) -> Json:
    """Return a completions prompt with the log-probability of its last line, as vLLM does.

    The first token of the line has the log-probability of the whole line. A line with none of the
    puppet's sentences gets a very low one. Raises ValueError if the prompt is not one string.
    """
    prompt = body.get("prompt")
    if not isinstance(prompt, str):
        raise ValueError("'echo' needs a 'prompt' that is one string")
    start = prompt.rstrip("\n").rfind("\n") + 1
    cue = _CUE.match(prompt[start:])
    end = start + (cue.end() if cue else 0)
    shown = read_request({**body, "prompt": prompt[:end]})
    line, p = prompt[end:], opposite_chance(shown, spec)
    likelihood = -float(count_tokens(line)) * _UNKNOWN_NATS
    for options, chance in zip(puppet_sentences(spec), (1 - p, p), strict=True):
        if contains_any(options, line):
            likelihood = math.log(max(chance, 1e-12) / len(options))
    pieces = TOKEN_PIECE.findall(prompt[:end])
    before = text_logprobs(prompt[:end], 0.0, 1)
    after = text_logprobs(line, likelihood, 1)
    logprobs = {
        "tokens": before["tokens"] + after["tokens"],
        "token_logprobs": [None, *before["token_logprobs"][1:], *after["token_logprobs"]],
        "text_offset": before["text_offset"] + [end + at for at in after["text_offset"]],
        "top_logprobs": None,
    }
    tokens = len(pieces) + len(after["tokens"])
    usage = {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens}
    choice = {"index": 0, "text": prompt, "finish_reason": "length", "logprobs": logprobs}
    return {
        "id": f"cmpl-{digest(shown.key)}",
        "object": "text_completion",
        "created": 0,
        "model": body.get("model") or "puppet",
        "choices": [choice],
        "usage": usage | {"prompt_tokens_details": {"cached_tokens": 0}},
    }


_UNKNOWN_NATS = 7.0
"""Nats per token of a line that contains none of the puppet's sentences."""


def _schema(body: Json) -> Any:
    """Return the JSON schema that a reply must follow, None if it may be any text."""
    form = body.get("response_format")
    if isinstance(form, dict) and form.get("type") == "json_schema":
        return form["json_schema"].get("schema", {})
    if isinstance(form, dict) and form.get("type") == "json_object":
        return form.get("schema") or {"type": "object"}
    return body.get("json_schema")
