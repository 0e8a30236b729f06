"""A file that age has encrypted with a passphrase, whose scrypt is cheap: opening it takes no time.

What the product encrypts takes a second to open, by design.
"""

from __future__ import annotations

PASSPHRASE = "correct horse battery staple"

WITH_PASSPHRASE = """\
-----BEGIN AGE ENCRYPTED FILE-----
YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IHNjcnlwdCBzZk5TSXZTSm9HNmlxN2cx
Smh0VHNBIDQKVlZiNnhpaGROYUs1eGx6a0hBZW50djN1dVBLcGpDbjBVUVNZejk4
VkRoNAotLS0gQkQ1cE5CYU5sWGxxQ0R6Q2ptYnpvN0xlR3lFZHMzUHV6eDRqTURt
MWR5RQrnPBrEbEyrXXp6kOcEX8qVzYo+w0RERK6WhkMl3z6wZK8NY5eD3gyVxi4R
2zqUp8OrThu/OsV4PK8SMygKIQNcaORcozJ9xM2gvbnX4OJdAF9iTD/fv+xNNRp5
4YIw
-----END AGE ENCRYPTED FILE-----
"""
"""`database` and `postgres_airflow`, both `the-value-itself`."""
