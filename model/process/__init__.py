"""The model process: one process for one version of a model, started by the main process."""
