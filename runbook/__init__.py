"""The engine: what carries sections out. It knows none of them."""
