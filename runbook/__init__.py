"""The engine: it carries out sections, and does not depend on any of them."""
