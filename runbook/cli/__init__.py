"""The commands fab and inv: what is typed, completed and listed."""
