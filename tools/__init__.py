"""What only those need who change this software."""
