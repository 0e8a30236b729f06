"""Passwords: where they are stored, and how they are kept out of output."""
