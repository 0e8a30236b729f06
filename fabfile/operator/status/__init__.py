"""`inv cluster.status` and `inv cluster.report`: how the cluster is, at a glance."""
