"""The cluster as a whole: all sections' checks, their order, and servers that go away in turn."""
