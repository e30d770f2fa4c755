"""Reports: what was found in, a page out that a referee could read. Only `material` reads a run."""
