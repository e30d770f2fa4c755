"""Every kind of input that is fuzzed, by its name."""

from __future__ import annotations

from tests.fuzz.cards import CARD
from tests.fuzz.links import LINK
from tests.fuzz.outcome import Kind
from tests.fuzz.replies import REPLY
from tests.fuzz.run_folders import FOLDER
from tests.fuzz.screenplays import PLAY
from tests.fuzz.studies import EDIT, SCENE, STUDY_KIND

ALL = (SCENE, STUDY_KIND, EDIT, CARD, PLAY, FOLDER, REPLY, LINK)
KINDS: dict[str, Kind] = {kind.name: kind for kind in ALL}
