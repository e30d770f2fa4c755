"""Graphs of a large run: its conditions are read and measured at once, each by a Ray task.

What comes of it is what one process makes of the whole, byte for byte, in less time where there
are processors to spare, and without any process that holds all turns.
"""

from __future__ import annotations

from improv.errors import MachineError, first_line
from improv.graph import build
from improv.graph.build import ConditionParts, GraphRequest, GraphResult
from improv.graph.figure import MeasuredGraph
from improv.storage.run_folder import RunFolder

RAY_OFF = "off"


def build_graphs_with_ray(
    folder: RunFolder, asked: GraphRequest, address: str = RAY_OFF
) -> GraphResult:
    """Return the graphs that are asked for, those of conditions made by tasks of the Ray at
    `address` ("local", or a cluster's); with "off", and where parts need each other, by this
    process. Raises RunError, and MachineError where Ray does not start or loses a task."""
    if address == RAY_OFF or not build.can_split(asked):
        return build.build_graphs(folder, asked)
    build.check_request(asked)
    given = build.split_by_condition(folder)
    # Not before it is wanted: it takes seconds to load.
    import ray

    from improv.ray_cluster import start_ray

    began = start_ray(address)
    try:
        made = _run_tasks(folder, asked, given)
    finally:
        if began:
            ray.shutdown()
    return GraphResult(build.result_title(folder, asked), made)


def _run_tasks(
    folder: RunFolder, asked: GraphRequest, given: ConditionParts
) -> list[MeasuredGraph]:
    """Give a task to each condition, and gather what they return in the conditions' order."""
    import ray

    # A task that lost its processor is done again: it only reads.
    task = ray.remote(build.build_condition).options(num_cpus=1, max_retries=2)
    shared = ray.put(given)
    singing = [task.remote(folder, asked, *names, shared) for names in given.conditions]
    try:
        return [made for one in singing for made in ray.get(one)]
    except ray.exceptions.RayTaskError as e:
        # Whatever a task raised is raised here as it was.
        raise e.cause if isinstance(e.cause, Exception) else e from None
    except ray.exceptions.RayError as e:
        raise MachineError(
            f"Ray lost a condition: {first_line(e)}; --ray off reads the run in one process"
        ) from None
