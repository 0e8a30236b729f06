"""Passwords: where they are kept, and how they are kept out of sight."""
