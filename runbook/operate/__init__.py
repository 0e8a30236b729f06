"""Operating the whole cluster: checks, the order of sections, and taking servers down in turn."""
