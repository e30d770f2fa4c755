"""What a report says of a run's history: what speaks against a decision, what the first screen has
to say, and the list of all that was done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from improv.analysis.decision import Doubt, DoubtKind
from improv.records import Json
from improv.report.page import Page
from improv.storage.history import FOUND_CHANGED, Entry, Past
from improv.storage.twins import Twin
from improv.study.measure_spec import made_by
from improv.study.plan import Plan

_SHOWN = 60
"""Entries that a page lists; of a longer history the first and the last ones."""


def history_doubts(past: Past, meta: Json, plan: Plan | None) -> Iterator[Doubt]:
    """Yield what a run's history has against a decision."""
    for problem in past.problems:
        why = f"{problem}. What was done with this run is not known."
        yield Doubt(DoubtKind.HISTORY, why, short="its history was changed")
    begun = next(iter(past.of("begun")), None)
    for key, name in (("plan", "plan_hash"), ("trials_hash", "trials_hash")):
        planned = begun.details.get(key) if begun is not None else None
        if planned is not None and planned != meta.get(name, ""):
            why = f"run.json has another {name} than the run had when it was begun."
            yield Doubt(DoubtKind.HISTORY, why, short="another plan than at the beginning")
    if meta.get("found_changed") is True and not past.of(FOUND_CHANGED):
        why = "run.json was changed by something else than improv, and was written again since."
        yield Doubt(DoubtKind.HISTORY, why, short="its files were changed")
    for entry in past.of(FOUND_CHANGED):
        names = ", ".join(_texts(entry, "files"))
        why = (
            f"Before {entry.at}, something else than improv had changed or removed {names} (entry "
            f"{entry.number} of the history)."
        )
        yield Doubt(DoubtKind.HISTORY, why, short="its files were changed")
    if any(_study_changed(entry) for entry in past.of("changed", "branched")):
        why = (
            "The study was changed while it was played, and the run was played on (--anyway): it "
            "mixes two experiments."
        )
        yield Doubt(DoubtKind.HISTORY, why, short="the study was changed meanwhile")
    yield from _judge_doubts(past, meta, plan)


def _judge_doubts(past: Past, meta: Json, plan: Plan | None) -> Iterator[Doubt]:
    """Yield a doubt if other judges judged first than those whose verdicts the plan reads now."""
    for measure in dict.fromkeys(made_by(m) for m in (plan.measures() if plan is not None else ())):
        judges = list(dict.fromkeys(_first_judge(e) for e in _judgings(past, measure)))
        now = (meta.get("scored") or {}).get(measure, {}).get("judge", "")
        if now and judges and judges[0] != now:
            why = (
                f"{measure} was judged first by {judges[0]}, and its scores are now those of "
                f"{now}. The plan does not say whose verdicts count, so the first ones do: score "
                f"it again with --judge {judges[0]}, which asks nothing twice."
            )
            yield Doubt(DoubtKind.HISTORY, why, short="another judge than at first")


def history_notes(past: Past, meta: Json, twins: Sequence[Twin]) -> list[str]:
    """Return sentences that belong on a report's first screen: what a reader would ask about."""
    notes = []
    if twins:
        listed = "; ".join(twin.sentence for twin in twins[:8])
        more = f"; and {len(twins) - 8} more" if len(twins) > 8 else ""
        notes.append(
            "The same scenes were played under the same conditions in other runs of this folder, "
            f"and each is a sample of its own: {listed}{more}."
        )
    if not past.kept:
        notes.append(
            "This run has no history: it was begun by a version of improv that kept none. How "
            "often it was looked at, scored or resumed is not known."
        )
    scored = meta.get("scored") or {}
    for measure, facts in scored.items():
        judgings = _judgings(past, measure)
        judge = facts.get("judge", "")
        times = sum(_first_judge(entry) == judge for entry in judgings)
        others = list(dict.fromkeys(_first_judge(e) for e in judgings if _first_judge(e) != judge))
        if judge and times > 1:
            redone = _total(_judgings(past, measure, "scored"), "redone")
            differ = _total(_judgings(past, measure, "scored"), "differ")
            again = (
                f" {redone:,} verdicts were asked for again, and {differ:,} of them differ."
                if redone
                else ""
            )
            notes.append(
                f"{measure} was scored {times} times by {judge}; first verdicts are used.{again}"
            )
        if judge and others:
            notes.append(f"{measure} was also scored by {', '.join(others)}.")
    notes += [
        f"The run was played on with --anyway on {entry.at} although something had changed: "
        f"{' / '.join(_texts(entry, 'changes')[:3])}"
        for entry in past.of("changed")
    ]
    return notes


def looks_sentence(past: Past) -> str:
    """Return how often the results were looked at, "" if nobody looked or nobody knows."""
    looks = past.of("looked")
    if not looks:
        return ""
    by = ", ".join(
        f"{sum(e.details.get('by') == name for e in looks)} by {name}"
        for name in dict.fromkeys(str(e.details.get("by", "")) for e in looks)
    )
    with_p = sum(e.details.get("p") is True for e in looks)
    return f"The results were looked at {len(looks)} times ({by}); {with_p} of these showed a p."


def add_history(page: Page, past: Past) -> None:
    """Add the section on what was done with the run."""
    if not past.kept:
        return
    page.head("What was done with this run")
    if looks := looks_sentence(past):
        page.say(looks)
    page.say(
        "Every session, look, scoring and branch is an entry of history.jsonl. Each entry has the "
        "hash of the one before it, and run.json has the number of entries and the last hash. So "
        "an entry that was left out or changed shows. A copy of the whole run from before does "
        "not: for that, keep the output of `improv plan` and a copy of this page elsewhere."
    )
    entries = past.entries
    if len(entries) > _SHOWN:
        page.say(f"The first and the last {_SHOWN // 2} of {len(entries):,} entries:")
        entries = (*entries[: _SHOWN // 2], *entries[-_SHOWN // 2 :])
    rows = [(e.number, e.at, e.what, _details_text(e)) for e in entries]
    page.table(["entry", "when (UTC)", "what", "how"], rows)
    if past.entries:
        page.say(f"Hash of the last entry: {past.entries[-1].hash}.")


def _details_text(entry: Entry) -> str:
    parts = []
    for key, value in entry.details.items():
        if key in ("tables", "settings") or value in ("", [], {}, False, None):
            continue
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        parts.append(f"{key}: {text[:120]}")
    return "; ".join(parts)


def _judgings(past: Past, measure: str, what: str = "scoring") -> list[Entry]:
    """Return the scorings of a measure by a judge."""
    return [e for e in past.of(what) if _texts(e, "judges") and measure in _texts(e, "judged")]


def _first_judge(entry: Entry) -> str:
    return next(iter(_texts(entry, "judges")), "")


def _study_changed(entry: Entry) -> bool:
    return any(line.startswith(("---", "plan:")) for line in _texts(entry, "changes"))


def _texts(entry: Entry, key: str) -> list[str]:
    """Return a list of an entry, which may be anybody's."""
    value = entry.details.get(key)
    return [str(part)[:200] for part in value] if isinstance(value, list) else []


def _total(entries: Sequence[Entry], key: str) -> int:
    values = (entry.details.get(key) for entry in entries)
    return sum(value for value in values if isinstance(value, int))
