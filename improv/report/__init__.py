"""Reports: what was found in, a page out that a referee could read. Pure."""
