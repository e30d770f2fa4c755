"""Graphs of a large run: its conditions are read and measured at once, each by a Ray task.

What comes of it is what one process makes of the whole, byte for byte, in less time where there
are processors to spare, and without any process that holds all turns.
"""

from __future__ import annotations

from improv.errors import MachineError, first_line
from improv.graph import build
from improv.graph.build import Asked, Graphed, Split
from improv.graph.figure import Made
from improv.storage.run_folder import RunFolder

OFF = "off"


def graphed(folder: RunFolder, asked: Asked, address: str = OFF) -> Graphed:
    """Return the graphs that are asked for, those of conditions made by tasks of the Ray at
    `address` ("local", or a cluster's); with "off", and where parts need each other, by this
    process. Raises RunError, and MachineError where Ray does not start or loses a task."""
    if address == OFF or not build.splits(asked):
        return build.graphed(folder, asked)
    build.check(asked)
    given = build.split(folder)
    # Not before it is wanted: it takes seconds to load.
    import ray

    from improv.ray_cluster import start_ray

    began = start_ray(address)
    try:
        made = _sung(folder, asked, given)
    finally:
        if began:
            ray.shutdown()
    return Graphed(build.titled(folder, asked), made)


def _sung(folder: RunFolder, asked: Asked, given: Split) -> list[Made]:
    """Give a task to each condition, and gather what they return in the conditions' order."""
    import ray

    # A task that lost its processor is done again: it only reads.
    task = ray.remote(build.part).options(num_cpus=1, max_retries=2)
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
