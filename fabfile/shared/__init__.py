"""What several sections use: roles, versions, sources, ids and paths, VIPs, vitals."""
