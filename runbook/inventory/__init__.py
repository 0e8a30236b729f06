"""hosts.yaml: reading it, validating it, and the cluster as sections see it."""
