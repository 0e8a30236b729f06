"""The tasks of `inv`: the cluster as one thing that a person operates."""
