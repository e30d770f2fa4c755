"""Statistics: tables in, estimates with intervals out. The unit is the scene or the block."""
