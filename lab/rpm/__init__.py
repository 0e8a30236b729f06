"""How Debian packages become RPMs in dnf repositories; lab.packages says which."""
