"""Test hosts on one machine: Rocky-like hosts of the user's own inventory, in a closed network."""
