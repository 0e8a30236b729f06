"""The tasks of `inv`: operating the cluster as a whole."""
