"""hosts.yaml: read, validated, and as sections see it."""
