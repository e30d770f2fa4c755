"""Cleans untrusted text: control characters, special tokens, prefaces and markup.

The text comes from a model or from a file of unknown origin. Every function is pure: text in, text
out. improv.wrapping takes reasoning off; improv.stage.reply decides which part of a reply is a
character's line.

Each pattern has bounded repeats and runs on text of bounded length, or it scans the text once. So
no reply takes more than linear time, even one that is made to be slow.
"""

from __future__ import annotations

import re

REPLY_LIMIT = 20_000
"""Characters of a reply that are read, counted after its reasoning was removed."""

# --- characters and tokens

ESCAPES = re.compile(
    r"\x1b\[[0-?]{0,64}[ -/]{0,8}[@-~]?|\x1b[\]PX^_][^\x07\x1b\n]{0,4096}(?:\x07|\x1b\\)?|\x1b.?"
)
_INVISIBLE = re.compile(
    # Tag characters after a black flag (U+1F3F4) name the region of the flag.
    r"(\U0001F3F4[\U000E0020-\U000E007F]{0,16})|[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u061c"
    r"\u115f\u1160\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\ufff0-\uffff"
    r"\ud800-\udfff\U000E0000-\U000E0FFF]+"
)
# Between emoji, and in some scripts between letters, a joiner is part of the spelling.
_JOINERS = re.compile(
    r"(?<=[\u0300-\U0010ffff])([\u200c\u200d])[\u200c\u200d]*(?=[\u0300-\u200b\u200e-\U0010ffff])"
    r"|[\u200c\u200d]+"
)
_BREAKS = re.compile(r"\r\n?|[\v\f\x1c-\x1e\x85\u2028\u2029]")


def visible(text: str) -> str:
    """Return `text` without characters that are invisible but have an effect.

    These are control characters, terminal escapes, marks that change the direction of writing, and
    tag characters. A joiner stays where it is part of the spelling. Line breaks become "\\n".
    """
    if text.isascii() and text.isprintable():
        return text
    text = _BREAKS.sub("\n", ESCAPES.sub("", text))
    return _JOINERS.sub(r"\1", _INVISIBLE.sub(r"\1", text))


def one_line(text: str) -> str:
    """Return `visible(text)` on one line, with single spaces."""
    return " ".join(visible(text).split())


_TURN_START = re.compile(
    r"<\|?(?:im_start|start_header_id|start_of_turn|begin_of_text|bos|s)\|?>(?:\s?"
    r"(?:assistant|model)\b)?(?:<\|end_header_id\|>)?|<\|(?:assistant|end_header_id)\|>|\[/INST\]"
    r"|<</?SYS>>|<(?:pad|unk|0x[0-9A-F]{2})>",
    re.IGNORECASE,
)
_TURN_END = re.compile(
    r"</s>|<eos>|<\|?(?:im_end|end_of_turn|endoftext|end_of_text|eot_id|eom_id|end|im_start|user"
    r"|system|start_header_id|start_of_turn)\|?>|\[INST\]",
    re.IGNORECASE,
)
_OTHER_TOKEN = re.compile(r"<\|[^<>|\n]{1,40}\|>|<br ?/?>|</?(?:p|b|i|em|strong)>", re.IGNORECASE)


def strip_special_tokens(text: str) -> str:
    """Remove special tokens, and all text after a token that ends the model's turn."""
    if "<" not in text and "INST]" not in text:
        return text
    text = text.lstrip()
    while opening := (_TURN_START.match(text) or _TURN_END.match(text)):
        text = text[opening.end() :].lstrip()
    if end := _TURN_END.search(text):
        text = text[: end.start()]
    return _OTHER_TOKEN.sub(" ", _TURN_START.sub(" ", text))


# --- what an assistant says about its own answer

_ANSWER = r"(?:line|response|reply|dialogue|continuation|scene|script|answer|take|version)s?"
_AGREEMENT = (
    r"(?:sure|certainly|of course|absolutely|okay|ok|great|alright)(?: thing)?[!,.:]{0,3}\s+"
)
_PREFACE = re.compile(
    rf"(?:{_AGREEMENT})?(?:(?:here(?:['’]s| is| are)|this is) "
    rf"(?:the|a|an|my|your|one|[\w.]{{1,20}}['’]s) (?:[\w'’.]{{1,20}} ){{0,4}}{_ANSWER}\b"
    r"[^\n:.?!]{0,80}:|(?:the |your )?next line(?: is)?:"
    r"|(?-i:(?:Assistant|Response|Reply|Output|Dialogue|A):(?=\s*[^\sa-z])))\s*"
    r"|continue the scene\.?(?:\s+|$)",
    re.IGNORECASE,
)
_AS_AN_AI = re.compile(
    r"(?:(?<=[.!?] )|(?<=\n)|^)[^.!?\n]{0,60}\bas an? (?:\w{1,12} )?(?:AI|language model)\b"
    r"[^.!?\n]{0,400}(?:[.!?]{1,3}\s*|$|(?=\n))",
    re.IGNORECASE,
)
_OFFER = re.compile(
    r"\s*\b(?:Let me know if|Would you like me to|Feel free to)[^.?!\n]{0,120}\b(?:scene|dialogue|"
    r"response|script|role-?play)\b[^.?!\n]{0,80}[.?!]?\s*$"
)


def strip_preface(text: str, own_preface: re.Pattern[str]) -> str:
    """Remove what an assistant says about its own answer, such as "Sure! Here is the next line:".

    `own_preface` matches a preface that names the speaker, such as "Mara's next line:". Sentences
    with "as an AI" are removed too, and an offer to write more at the end.
    """
    for _ in range(8):
        preface = _PREFACE.match(text) or own_preface.match(text)
        if not preface:
            break
        text = text[preface.end() :].lstrip()
    return _OFFER.sub("", _AS_AN_AI.sub("", text))


# --- markup

_BOLD = re.compile(r"(?<![\w*_])(\*\*\*?|__)(?![\s*_])([^*\n]{1,400}?)(?<!\s)\1(?![\w*_])")
_LEADS = re.compile(r"^[ \t]*(?:#{1,6}[ \t]+|[-•+>][ \t]+|\*[ \t]+(?!\*))+", re.MULTILINE)
_FENCE = re.compile(r"^[ \t]*```[\w-]{0,20}[ \t]*$\n?|`{1,3}", re.MULTILINE)
_STARS = re.compile(r"(?<![\w\s])\*{1,200}|(?<!\w)\*{1,200}(?=\S)|\*{1,200}(?!\w)(?!\s*\d)")
_MARKUP = re.compile(r"[`#>+•]|\*|__|^\s*-\s", re.MULTILINE)
_DIRECTION = re.compile(
    r"(?<![\w*])([*_])(?![\s*_])([^*_\n]{1,300}?)(?<!\s)\1(?![\w*])"
    r"|\[([^\[\]\n]{1,300})\]"
)


def strip_markdown(text: str) -> str:
    """Remove Markdown's marks of bold text, headings, lists, quotations and code."""
    if not _MARKUP.search(text):
        return text
    return _LEADS.sub("", _FENCE.sub("", _BOLD.sub(r"\2", text)))


def directions_in_parentheses(text: str) -> str:
    """Write *laughs*, _laughs_ and [laughs] as (laughs); remove the marks of a stressed *word*."""
    if "*" not in text and "_" not in text and "[" not in text:
        return text

    def rewrite(match: re.Match[str]) -> str:
        if match[3] is not None:
            return f"({match[3].strip('()')})"
        before, after = text[: match.start()].rstrip(), text[match.end() :].lstrip()
        inside = match[2]
        # A direction is a phrase of its own; a stressed word is a part of a sentence.
        begins = not before or before[-1] in ".!?…)\"”'—"
        ends = not after or after[0] in '"“(—…' or after[0].isupper()
        if begins and (inside[0].islower() or ends) and not after.startswith((".", ",", "!", "?")):
            return f"({inside.strip('()')})"
        return inside

    return _DIRECTION.sub(rewrite, text)


def strip_asterisks(text: str) -> str:
    """Remove single asterisks, except those inside a word (f*ck) and between numbers (2 * 3)."""
    return _STARS.sub("", text) if "*" in text else text
