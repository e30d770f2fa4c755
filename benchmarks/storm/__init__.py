"""The storm: runs that something befalls at a random moment, and the check that nothing is lost.

`python -m benchmarks.storm` (`make storm`) plays it. `theatre` is what the runs are played in,
`events` and `ray_events` are what befalls them, `tally` counts, and `page` writes docs/storm.md.
"""
