"""`inv secrets.*`: the cluster's passwords on this machine."""

from .tasks import secrets

__all__ = ["secrets"]
