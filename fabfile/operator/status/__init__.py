"""`inv cluster.status` and `inv cluster.report`: the state of the cluster at a glance."""
