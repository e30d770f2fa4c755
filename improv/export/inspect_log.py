"""Makes logs for Inspect (https://inspect.aisi.org.uk) and writes them with Inspect's own writer.

A condition is a log, so that Inspect compares conditions as it compares tasks. A scene is a sample,
and its replicates are epochs. The messages of a sample are the lines of all characters and the acts
of the author. Its scores are means over the scene, with the mean of each character in the metadata.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from improv.errors import RunError
from improv.export.selection import PlayedScene
from improv.records import MAIN, Act, Call, Json, Turn, digest

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog, EvalSample
    from inspect_ai.model import ChatMessage, ModelUsage
    from inspect_ai.scorer import Score

_INSTALL = "pip install 'improv-theatre[inspect]'"


def require_inspect() -> None:
    """Raise RunError if Inspect is not installed."""
    try:
        import inspect_ai.log  # noqa: F401
    except ImportError as e:
        raise RunError(f"--to inspect needs Inspect ({e}); install it with: {_INSTALL}") from None


def write_log(log: EvalLog, path: Path) -> None:
    """Write a log to a file with Inspect's own writer."""
    from inspect_ai.log import write_eval_log

    write_eval_log(log, str(path), format="eval")


def eval_log(scenes: Sequence[PlayedScene], run: Json, premise: dict[str, str]) -> EvalLog:
    """Return the log of the scenes of one condition; `premise` has a premise for each scene."""
    from inspect_ai.log import EvalConfig, EvalDataset, EvalLog, EvalSpec, EvalStats

    first = scenes[0].row
    samples = [_sample(scene, premise.get(scene.row["scene"], "")) for scene in scenes]
    condition = first["condition"]
    levels = {pair["name"]: pair["value"] for pair in first["levels"]}
    name = f"{run['run']}/{condition}"
    begin, end = _span([call for scene in scenes for call in scene.own])
    models = sorted({call.model for scene in scenes for call in scene.own})
    ids = list(dict.fromkeys(str(s.id) for s in samples))
    epochs = max(s.epoch for s in samples)
    spec = EvalSpec(
        eval_id=digest(f"eval {name}"),
        run_id=digest(f"run {run['run']}"),
        task_id=digest(f"task {name}"),
        created=run["created"] or begin,
        task=run["study"],
        task_version=0,
        task_display_name=f"{run['study']} · {condition}",
        task_args={"condition": condition, **levels},
        tags=["improv"],
        dataset=EvalDataset(name=run["study"], samples=len(ids), sample_ids=ids, shuffled=False),
        model=", ".join(models) or "none",
        config=EvalConfig(epochs=epochs),
        packages={"improv-theatre": run["version"]},
        metadata={
            "run": run["run"],
            "condition": condition,
            "levels": levels,
            "played": run["played"],
        },
    )
    stats = EvalStats(started_at=begin, completed_at=end, model_usage=_total_usage(samples))
    results = _results(samples)
    return EvalLog(status="success", eval=spec, stats=stats, samples=samples, results=results)


def _sample(played: PlayedScene, premise: str) -> EvalSample:
    from inspect_ai.log import EvalSample
    from inspect_ai.model import ModelOutput

    row = played.row
    lines = [t for t in played.turns if t.kind == "line"]
    begin, end = _span(played.own)
    model = next((c.model for c in reversed(played.calls) if c.draw.purpose == "line"), "none")
    output = ModelOutput.from_content(model, _line(lines[-1]) if lines else "")
    output.choices[0].message.id = digest(f"{played.name}/output")
    block = row["block"].rpartition("/")[0] or row["scene"]
    return EvalSample(
        id=block if row["branch"] == MAIN else f"{block}~{row['branch']}",
        epoch=row["replicate"] + 1,
        input=premise or row["title"] or row["scene"],
        target="",
        messages=_messages(played),
        output=output,
        scores=_scores(played.scores),
        model_usage=_usage(played.own),
        uuid=digest(f"sample {played.name}"),
        started_at=begin,
        completed_at=end,
        total_time=row["seconds"],
        metadata={
            "trial": row["trial"],
            "branch": row["branch"],
            "origin": row["origin"],
            "scene": row["scene"],
            "title": row["title"],
            "block": row["block"],
            "replicate": row["replicate"],
            "turns": row["turns"],
            "arm": row["arm"],
        },
    )


def _messages(played: PlayedScene) -> list[ChatMessage]:
    """Return a scene as messages: improvised lines are `assistant`, all others `user`."""
    from inspect_ai.model import ChatMessageAssistant, ChatMessageUser

    models = {
        (c.draw.turn, c.draw.role): c.model
        for c in played.calls
        if c.draw.purpose in ("line", "probe")
    }
    messages: list[ChatMessage] = []
    for turn in played.turns:
        where = f"{played.name}/{turn.turn}/{turn.seq}"
        for number, act in enumerate(turn.acts):
            about: Json = {"kind": act.kind, "turn": turn.turn, "speaker": "author"}
            messages.append(
                ChatMessageUser(
                    content=_act(act), metadata=about, id=digest(f"{where}/act {number}")
                )
            )
        about = {"kind": turn.kind, "turn": turn.turn, "speaker": turn.speaker}
        about |= {"heard_by": list(turn.heard_by)} if turn.aside else {}
        id = digest(where)
        if turn.turn and turn.kind in ("line", "silence", "probe"):
            model = models.get((turn.turn, turn.speaker))
            messages.append(
                ChatMessageAssistant(
                    content=_line(turn), metadata=about, id=id, source="generate", model=model
                )
            )
        else:
            messages.append(ChatMessageUser(content=_line(turn), metadata=about, id=id))
    return messages


def _line(turn: Turn) -> str:
    if turn.kind == "direction":
        return f"({turn.text})"
    if turn.off_record:
        return f"({turn.speaker}, {turn.kind}: {turn.text})"
    to = f" (aside to {', '.join(turn.heard_by) or 'nobody'})" if turn.aside else ""
    return f"{turn.speaker.upper()}{to}: {turn.text or '…'}"


def _act(act: Act) -> str:
    to = f" {act.to}" if act.to else ""
    return f"(The author: {act.kind}{to}{': ' if act.text else ''}{act.text})"


def _scores(rows: Iterable[Json]) -> dict[str, Score]:
    """Return the mean of each measure over the scene.

    It is NaN, which Inspect leaves out of its own means, if all values are missing.
    """
    from inspect_ai.scorer import Score

    by: dict[str, dict[str, list[float | None]]] = {}
    for row in rows:
        by.setdefault(row["measure"], {}).setdefault(row["character"], []).append(row["value"])
    scores = {}
    for measure, characters in sorted(by.items()):
        every = [v for values in characters.values() for v in values]
        each = {
            who: {"mean": _mean(v), "n": sum(x is not None for x in v), "of": len(v)}
            for who, v in sorted(characters.items())
        }
        mean = _mean(every)
        read = sum(v is not None for v in every)
        scores[measure] = Score(
            value=math.nan if mean is None else mean,
            explanation=f"the mean of {read} of {len(every)} scores, the others missing"
            if read < len(every)
            else f"the mean of {read} scores",
            metadata={"characters": each},
        )
    return scores


def _mean(values: Sequence[float | None]) -> float | None:
    read = [v for v in values if v is not None]
    return statistics.fmean(read) if read else None


def _results(samples: Sequence[EvalSample]) -> Any:
    """Return the mean of each measure over scenes, which are the units, and its standard error."""
    from inspect_ai.log import EvalMetric, EvalResults, EvalScore

    by: dict[str, list[float]] = {}
    for sample in samples:
        for name, score in (sample.scores or {}).items():
            by.setdefault(name, []).append(float(score.value))
    scores = []
    for name, values in sorted(by.items()):
        read = [v for v in values if not math.isnan(v)]
        metrics = {}
        if read:
            metrics["mean"] = EvalMetric(name="mean", value=statistics.fmean(read))
        if len(read) > 1:
            error = statistics.stdev(read) / math.sqrt(len(read))
            metrics["stderr"] = EvalMetric(name="stderr", value=error)
        scores.append(
            EvalScore(
                name=name,
                scorer=name,
                scored_samples=len(read),
                unscored_samples=len(values) - len(read),
                metrics=metrics,
            )
        )
    n = len(samples)
    return EvalResults(total_samples=n, completed_samples=n, scores=scores)


def _usage(calls: Iterable[Call]) -> dict[str, ModelUsage]:
    """Return the tokens by model. Inspect counts cached tokens separately."""
    from inspect_ai.model import ModelUsage

    usage: dict[str, ModelUsage] = {}
    for call in calls:
        prompt, reply = call.prompt_tokens or 0, call.completion_tokens or 0
        cached = min(call.cached_tokens or 0, prompt)
        tokens = ModelUsage(
            input_tokens=prompt - cached,
            output_tokens=reply,
            total_tokens=prompt + reply,
            input_tokens_cache_read=cached,
            reasoning_tokens=call.reasoning_tokens,
        )
        usage[call.model] = usage[call.model] + tokens if call.model in usage else tokens
    return usage


def _total_usage(samples: Iterable[EvalSample]) -> dict[str, ModelUsage]:
    total: dict[str, ModelUsage] = {}
    for sample in samples:
        for model, usage in sample.model_usage.items():
            total[model] = total[model] + usage if model in total else usage
    return total


def _span(calls: Sequence[Call]) -> tuple[str, str]:
    begin = min((c.started for c in calls), default=0.0)
    end = max((c.started + c.latency for c in calls), default=begin)
    first, last = (datetime.fromtimestamp(at, UTC).isoformat() for at in (begin, end))
    return first, last
