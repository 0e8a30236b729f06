"""Output on the screen and as JSON."""
