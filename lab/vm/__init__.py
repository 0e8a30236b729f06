"""Lab hosts as virtual machines, with a kernel of their own: for NFS in the kernel."""
