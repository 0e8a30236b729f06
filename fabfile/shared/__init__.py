"""What several sections stand on: roles, versions, sources, ids and paths, VIPs, vitals."""
