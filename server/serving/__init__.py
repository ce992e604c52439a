"""Models in memory: loaded, served, replaced, unloaded."""
