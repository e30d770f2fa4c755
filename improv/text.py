"""Cleans untrusted text. Pure: text in, text out.

Removes control characters, special tokens, reasoning, an assistant's talk about its own answer
and markup from what a model or a stranger's file says. Whose line a reply is, reply decides.

Every pattern is bounded and runs on bounded text, or is a single scan, so that no reply, however
hostile, takes more than linear time.
"""

from __future__ import annotations

import re

READ = 20_000
"""Characters of a reply that are looked at once its reasoning is gone."""

# --- characters and tokens

_ESCAPES = re.compile(
    r"\x1b\[[0-?]{0,64}[ -/]{0,8}[@-~]?|\x1b[\]PX^_][^\x07\x1b\n]{0,4096}(?:\x07|\x1b\\)?|\x1b.?"
)
_UNSEEN = re.compile(
    # Tags after a black flag spell out whose flag it is.
    r"(\U0001F3F4[\U000E0020-\U000E007F]{0,16})|[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u061c"
    r"\u115f\u1160\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\ufff0-\uffff"
    r"\ud800-\udfff\U000E0000-\U000E0FFF]+"
)
# Between emoji, or letters of some scripts, a joiner is spelling.
_JOINERS = re.compile(
    r"(?<=[\u0300-\U0010ffff])([\u200c\u200d])[\u200c\u200d]*(?=[\u0300-\u200b\u200e-\U0010ffff])"
    r"|[\u200c\u200d]+"
)
_BREAKS = re.compile(r"\r\n?|[\v\f\x1c-\x1e\x85\u2028\u2029]")


def visible(text: str) -> str:
    """Return `text` without characters that are not seen but do something: controls, escapes,
    marks that turn the direction of writing, invisible tags. Joiners stay where they spell."""
    if text.isascii() and text.isprintable():
        return text
    text = _BREAKS.sub("\n", _ESCAPES.sub("", text))
    return _JOINERS.sub(r"\1", _UNSEEN.sub(r"\1", text))


def plain(text: str) -> str:
    """Return `text` on one line, without control, bidi and zero-width characters or escapes."""
    return " ".join(visible(text).split())


_THINK = re.compile(r"<(/?)(?:think|thinking|thought|reasoning|reflection)>", re.IGNORECASE)
_FINAL = "<|channel|>final<|message|>"


def spoken_part(text: str) -> str:
    """Drop what stands between reasoning tags, before a lone closing tag, after a lone opening."""
    if _FINAL in text:
        text = text.rpartition(_FINAL)[2]
    kept: list[str] = []
    start, thinking = 0, False
    for tag in _THINK.finditer(text):
        if tag[1]:
            kept = kept if thinking else []
            thinking = False
        else:
            kept += [] if thinking else [text[start : tag.start()]]
            thinking = True
        start = tag.end()
    return "".join(kept) + ("" if thinking else text[start:])


_OPENS = re.compile(
    r"<\|?(?:im_start|start_header_id|start_of_turn|begin_of_text|bos|s)\|?>(?:\s?"
    r"(?:assistant|model)\b)?(?:<\|end_header_id\|>)?|<\|(?:assistant|end_header_id)\|>|\[/INST\]"
    r"|<</?SYS>>|<(?:pad|unk|0x[0-9A-F]{2})>",
    re.IGNORECASE,
)
_ENDS = re.compile(
    r"</s>|<eos>|<\|?(?:im_end|end_of_turn|endoftext|end_of_text|eot_id|eom_id|end|im_start|user"
    r"|system|start_header_id|start_of_turn)\|?>|\[INST\]",
    re.IGNORECASE,
)
_BAR = re.compile(r"<\|[^<>|\n]{1,40}\|>|<br ?/?>|</?(?:p|b|i|em|strong)>", re.IGNORECASE)


def untokened(text: str) -> str:
    """Drop special tokens; what a model wrote past the end of its turn goes with the token."""
    if "<" not in text and "INST]" not in text:
        return text
    text = text.lstrip()
    while opening := (_OPENS.match(text) or _ENDS.match(text)):
        text = text[opening.end() :].lstrip()
    if end := _ENDS.search(text):
        text = text[: end.start()]
    return _BAR.sub(" ", _OPENS.sub(" ", text))


# --- what an assistant says about its answer

_WORK = r"(?:line|response|reply|dialogue|continuation|scene|script|answer|take|version)s?"
_SURE = r"(?:sure|certainly|of course|absolutely|okay|ok|great|alright)(?: thing)?[!,.:]{0,3}\s+"
_PREFACE = re.compile(
    rf"(?:{_SURE})?(?:(?:here(?:['’]s| is| are)|this is) "
    rf"(?:the|a|an|my|your|one|[\w.]{{1,20}}['’]s) (?:[\w'’.]{{1,20}} ){{0,4}}{_WORK}\b"
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


def unprefaced(text: str, mine: re.Pattern[str]) -> str:
    for _ in range(8):
        preface = _PREFACE.match(text) or mine.match(text)
        if not preface:
            break
        text = text[preface.end() :].lstrip()
    return _OFFER.sub("", _AS_AN_AI.sub("", text))


# --- markup

_BOLD = re.compile(r"(?<![\w*_])(\*\*\*?|__)(?![\s*_])([^*\n]{1,400}?)(?<!\s)\1(?![\w*_])")
_LEADS = re.compile(r"^[ \t]*(?:#{1,6}[ \t]+|[-•+>][ \t]+|\*[ \t]+(?!\*))+", re.MULTILINE)
_FENCE = re.compile(r"^[ \t]*```[\w-]{0,20}[ \t]*$\n?|`{1,3}", re.MULTILINE)
_STARS = re.compile(r"(?<![\w\s])\*{1,200}|(?<!\w)\*{1,200}(?=\S)|\*{1,200}(?!\w)(?!\s*\d)")
_GROUP = re.compile(
    r"(?<![\w*])([*_])(?![\s*_])([^*_\n]{1,300}?)(?<!\s)\1(?![\w*])"
    r"|\[([^\[\]\n]{1,300})\]"
)


def unmarked(text: str) -> str:
    if not _MARKUP.search(text):
        return text
    return _LEADS.sub("", _FENCE.sub("", _BOLD.sub(r"\2", text)))


_MARKUP = re.compile(r"[`#>+•]|\*|__|^\s*-\s", re.MULTILINE)


def directions(text: str) -> str:
    """Write *laughs*, _laughs_ and [laughs] as (laughs); drop the stars of a stressed *word*."""
    if "*" not in text and "_" not in text and "[" not in text:
        return text

    def written(m: re.Match[str]) -> str:
        if m[3] is not None:
            return f"({m[3].strip('()')})"
        before, after, said = text[: m.start()].rstrip(), text[m.end() :].lstrip(), m[2]
        begins = not before or before[-1] in ".!?…)\"”'—"
        ends = not after or after[0] in '"“(—…' or after[0].isupper()
        if begins and (said[0].islower() or ends) and not after.startswith((".", ",", "!", "?")):
            return f"({said.strip('()')})"
        return said

    return _GROUP.sub(written, text)


def unstarred(text: str) -> str:
    """Drop asterisks that mark nothing; those inside a word (f*ck) and in 2 * 3 stay."""
    return _STARS.sub("", text) if "*" in text else text
