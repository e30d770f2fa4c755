"""From the tables of a run to graphs, what they measure, and their pictures."""
