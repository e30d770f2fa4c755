"""Graphs of a large run: Ray tasks read and measure its conditions at the same time.

The result equals that of one process, byte for byte. It takes less time if processors are free,
and no process holds all turns.
"""

from __future__ import annotations

from improv.errors import MachineError, first_line
from improv.graph import build
from improv.graph.build import ConditionParts, GraphRequest, GraphResult
from improv.graph.figure import MeasuredGraph
from improv.storage.run_folder import RunFolder

RAY_OFF = "off"


def build_graphs_with_ray(
    folder: RunFolder, request: GraphRequest, address: str = RAY_OFF
) -> GraphResult:
    """Return the graphs of a request, built by Ray tasks, one for each condition.

    `address` is "local", the address of a Ray cluster, or "off". With "off", or if the request
    cannot be split by condition, this process builds them. Raises RunError, and MachineError if
    Ray does not start or loses a task.
    """
    if address == RAY_OFF or not build.can_split(request):
        return build.build_graphs(folder, request)
    build.check_request(request)
    parts = build.split_by_condition(folder)
    # Imported here: it takes seconds.
    import ray

    from improv.ray_cluster import start_ray

    began = start_ray(address)
    try:
        graphs = _run_tasks(folder, request, parts)
    finally:
        if began:
            ray.shutdown()
    return GraphResult(build.result_title(folder, request), graphs)


def _run_tasks(
    folder: RunFolder, request: GraphRequest, parts: ConditionParts
) -> list[MeasuredGraph]:
    """Start a task for each condition, and return their graphs in the order of the conditions."""
    import ray

    # A task whose worker is lost runs again: it only reads.
    task = ray.remote(build.build_condition).options(num_cpus=1, max_retries=2)
    shared = ray.put(parts)
    pending = [task.remote(folder, request, *names, shared) for names in parts.conditions]
    try:
        return [graph for task in pending for graph in ray.get(task)]
    except ray.exceptions.RayTaskError as e:
        # Raise the error of the task itself.
        raise e.cause if isinstance(e.cause, Exception) else e from None
    except ray.exceptions.RayError as e:
        raise MachineError(
            f"Ray lost a condition: {first_line(e)}; --ray off reads the run in one process"
        ) from None
