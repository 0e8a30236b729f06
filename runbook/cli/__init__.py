"""The commands `fab` and `inv`: parsing, completion and lists."""
