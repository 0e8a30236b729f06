"""Tools that only developers of this software need."""
