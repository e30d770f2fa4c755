"""What each arm of a study says of its own: its texts by place, and who else has their words. Pure.

An arm is a scene under a condition. The author's texts and the secrets tell the arms of a study
apart; analysis.exposure looks for their words in what other arms were shown. A study whose control
arm quotes them in a text of its own is refused before it is played.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from improv.study.quotations import (
    HALF,
    MIN_LETTERS,
    MIN_WORDS,
    Gram,
    Grams,
    Quotation,
    halves,
    quotations,
    wholes,
    words,
)
from improv.study.scene import Scene

SceneArm = tuple[str, str]
"""A scene's slug and a condition."""
OTHERS_LEAST = 8
"""Words of a run that identifies an arm by its cards, premise or events. Cards and premises of two
arms are often alike, so that a shorter run is what any character of the scene might say."""
LOOKED_FOR = (
    f"a run of {MIN_WORDS} or more words with {MIN_LETTERS} or more letters, or with a name, that "
    "the author's texts or a secret of another arm have and no text of the own arm has; and a run "
    f"of {OTHERS_LEAST} or more words of another arm's cards, premise or events. Case, "
    "punctuation, marks on letters and line breaks do not count, and one word in "
    f"{2 * HALF + 1} may be exchanged, left out or put in"
)
"""What a quotation is, in words."""
_AUTHORS = ("author.", "secret ")


def arm_texts(scene: Scene) -> dict[str, str]:
    """Return every text of a scene that some role may be shown, by its place in words."""
    return {place: text for place, text in _texts(scene) if text.strip()}


def is_authors(place: str) -> bool:
    """Whether the text at a place is the author's or a secret: those by which arms differ."""
    return place.startswith(_AUTHORS)


def _texts(scene: Scene) -> Iterator[tuple[str, str]]:
    author = scene.author
    yield "author.frame", author.frame
    yield "author.brief", author.brief
    yield "author.bible", author.bible
    for name, text in author.moves.items():
        yield f"author.moves, '{name}'", text
    for i, sample in enumerate(author.samples, 1):
        yield f"author.samples, number {i}", sample.note
    yield "premise", scene.premise
    yield "place", scene.place
    yield "time", scene.time
    yield "world", "\n".join(scene.world)
    for name, rule in scene.rules.items():
        yield f"rule '{name}'", rule.says
    for beat in scene.beats:
        yield f"beat of turn {beat.turn}", beat.text
    for c in scene.cast:
        yield f"secret of {c.name}", c.secret
        yield f"role of {c.name}", c.role
        yield f"card of {c.name}", c.card
        yield f"goal of {c.name}", c.goal
        yield f"habit of {c.name}", c.habit.says if c.habit else ""
        yield f"samples of {c.name}", "\n".join(c.samples)
    for i, opening in enumerate(scene.opening, 1):
        yield f"opening, number {i}", opening.line or opening.direction or ""
    for event in scene.events:
        yield f"event of turn {event.turn}, direction", event.direction
        yield f"event of turn {event.turn}, audience", event.audience
    if scene.envelope is not None:
        yield "envelope", "\n".join([scene.envelope.ask, *scene.envelope.options])


class ArmWords:
    """The runs of words of a study's arms, and which arms have each."""

    def __init__(self, arms: Mapping[SceneArm, Scene]) -> None:
        self._scenes = arms
        self.texts = {arm: arm_texts(scene) for arm, scene in arms.items()}
        self._size = Counter(slug for slug, _ in arms)
        self._authors = GramOwners(self._telling(authors=True), self.texts, self._size)
        self._others = GramOwners(self._telling(authors=False), self.texts, self._size)
        every = [*self._authors.arms, *self._others.arms]
        self._wholes = {gram for gram in every if len(gram) == MIN_WORDS}
        self._halves = {gram for gram in every if len(gram) > MIN_WORDS}

    def own_quotations(self) -> list[OwnQuotation]:
        """Return what the study's own texts quote from the authors of other arms."""
        return own_quotations(self._scenes)

    def quotes(self, text: str) -> bool:
        """Whether a text has words that only some arms of a scene have."""
        run = words(text)
        return not (self._wholes.isdisjoint(wholes(run)) and self._halves.isdisjoint(halves(run)))

    def quoted(
        self, arm: SceneArm, text: str, own: Callable[[], Iterable[str]]
    ) -> tuple[frozenset[SceneArm], Quotation] | None:
        """Return what a text that `arm` was shown has from other arms, and from which.

        `own` returns texts beside the scene's own that the arm may be shown. A quotation that is
        not telling is of an author's text and may be chance. Returns None for no quotation.
        """
        run, doubt = words(text), None
        grams = {*wholes(run), *halves(run)}
        for owners, least in ((self._authors, MIN_WORDS), (self._others, OTHERS_LEAST)):
            alien = {gram for gram in grams if arm not in owners.arms.get(gram, (arm,))}
            for known in map(Grams.of, own() if alien else ()):
                alien -= known.whole | known.halves
            if not alien:
                continue
            names = owners.names_unknown_to(arm) if owners is self._authors else ()
            best = quotations(run, alien, alien, names, least)[0]
            there = [owners.arms[g] for g in {*wholes(best.run), *halves(best.run)} & alien]
            whose = frozenset.intersection(*there) or frozenset.union(*there)
            if best.telling:
                return whose, best
            doubt = (whose, best) if owners is self._authors else None
        return doubt

    def _telling(self, *, authors: bool) -> set[str]:
        held: dict[str, Counter[str]] = defaultdict(Counter)
        for (slug, _), texts in self.texts.items():
            for text in {t for place, t in texts.items() if is_authors(place) == authors}:
                held[text][slug] += 1
        return {t for t, n in held.items() if any(n[slug] < self._size[slug] for slug in n)}


class GramOwners:
    """The runs of some telling texts that not all arms of a scene have, each with its arms."""

    def __init__(
        self, telling: set[str], texts: Mapping[SceneArm, Mapping[str, str]], size: Counter[str]
    ) -> None:
        self.names = frozenset[str]().union(*(Grams.of(t).names for t in telling))
        wanted = set[Gram]().union(*(Grams.of(t).whole | Grams.of(t).halves for t in telling))
        having: dict[Gram, set[SceneArm]] = defaultdict(set)
        arms_of: dict[str, set[SceneArm]] = defaultdict(set)
        for arm, own in texts.items():
            for text in own.values():
                arms_of[text].add(arm)
        self._said: dict[str, set[SceneArm]] = defaultdict(set)
        for text, arms in arms_of.items():
            grams = Grams.of(text)
            for gram in (grams.whole | grams.halves) & wanted:
                having[gram] |= arms
            for name in self.names.intersection(words(text)):
                self._said[name] |= arms
        self.arms = {
            gram: frozenset(arms)
            for gram, arms in having.items()
            if any(n < size[slug] for slug, n in Counter(slug for slug, _ in arms).items())
        }

    def names_unknown_to(self, arm: SceneArm) -> set[str]:
        """Return the names in these texts that no text of the arm has."""
        return {name for name in self.names if arm not in self._said[name]}


class OwnQuotation(NamedTuple):
    """A text of an arm that quotes the author's text or a secret of another arm."""

    scene: str
    condition: str
    place: str
    owner: str
    owners_place: str
    quotation: Quotation

    def __str__(self) -> str:
        return (
            f"the {self.place} of the condition '{self.condition}' quotes the {self.owners_place} "
            f"of '{self.owner}': “{self.quotation}” (scene {self.scene})"
        )

    @property
    def field(self) -> str:
        """The field of a scene that the text is in."""
        first = self.place.partition(" ")[0].rstrip(",")
        return _FIELDS.get(first, first)


_FIELDS = {
    "rule": "rules",
    "beat": "beats",
    "event": "events",
    **dict.fromkeys(("role", "card", "goal", "habit", "samples"), "cast"),
}
"""The first word of a place → the field of a scene, where they differ."""


def own_quotations(arms: Mapping[SceneArm, Scene]) -> list[OwnQuotation]:
    """Find texts of arms, outside their author's, that quote the author of another arm.

    If some arm has both texts, as where an author's text quotes everybody's premise or factors are
    crossed, nothing leaks by the study's own doing. Each text of an arm is reported once.
    """
    by_scene: dict[str, dict[str, dict[str, str]]] = defaultdict(dict)
    for (slug, condition), scene in arms.items():
        by_scene[slug][condition] = arm_texts(scene)
    problems = []
    checked: dict[tuple[str, str, frozenset[str]], Quotation | None] = {}
    for slug, conditions in by_scene.items():
        common = set.intersection(*({*texts.items()} for texts in conditions.values()))
        for condition, texts in conditions.items():
            own = {p: t for p, t in texts.items() if (p, t) not in common and not is_authors(p)}
            for place, text in own.items():
                quoted = _first_quoted(condition, place, text, conditions, checked)
                if quoted is not None:
                    problems.append(OwnQuotation(slug, condition, place, *quoted))
    return problems


def _first_quoted(
    condition: str,
    place: str,
    text: str,
    conditions: Mapping[str, Mapping[str, str]],
    checked: dict[tuple[str, str, frozenset[str]], Quotation | None],
) -> tuple[str, str, Quotation] | None:
    """Return the arm, the place and the words that a text quotes, None for a text of its own."""
    texts = conditions[condition]
    beside = {
        t
        for theirs in conditions.values()
        for p, t in theirs.items()
        if theirs.get(place) == text and is_authors(p)
    }
    for other, theirs in conditions.items():
        if theirs.get(place) == text:
            continue  # the other arm has this text as well
        known = frozenset(
            [t for p, t in texts.items() if is_authors(p)]
            + [t for p, t in theirs.items() if texts.get(p) == t]
        )
        for their_place, their_text in theirs.items():
            if not is_authors(their_place) or their_text in beside:
                continue
            key = (text, their_text, known)
            if key not in checked:
                checked[key] = _quoted(text, their_text, [*known])
            quotation = checked[key]
            if quotation is not None:
                return other, their_place, quotation
    return None


def _quoted(text: str, other: str, shared: Sequence[str]) -> Quotation | None:
    """Return the longest telling run that `text` has from `other` and not from what both share."""
    theirs = Grams.of(other)
    known = [Grams.of(t) for t in shared]
    whole = theirs.whole.difference(*(g.whole for g in known))
    half = theirs.halves.difference(*(g.halves for g in known))
    names = theirs.names.difference(*(words(t) for t in shared))
    shown = quotations(words(text), whole, half, names)
    return shown[0] if shown and shown[0].telling else None
