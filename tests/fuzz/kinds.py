"""Every kind of input that is fuzzed, by its name."""

from __future__ import annotations

from tests.fuzz.cards import CARD
from tests.fuzz.outcome import Kind
from tests.fuzz.screenplays import PLAY
from tests.fuzz.studies import EDIT, SCENE, STUDY_KIND

KINDS: dict[str, Kind] = {k.name: k for k in (SCENE, STUDY_KIND, EDIT, CARD, PLAY)}
