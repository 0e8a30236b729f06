"""`inv reference.*`: the pages of docs/ that are made from the code."""

from .tasks import reference

__all__ = ["reference"]
