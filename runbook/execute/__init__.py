"""One call: which task on which hosts, in which order, and what came of it."""
