"""What `fab base hosts` does, for pyinfra; on prepared hosts it changes nothing."""

import os

from pyinfra import host
from pyinfra.facts.server import Command
from pyinfra.operations import dnf, files, server, systemd

BLOCK = os.environ["BENCH_BLOCK"]
PUBLIC_KEY = os.environ["BENCH_PUBLIC_KEY"]

dnf.packages(packages=["vim-enhanced", "curl", "wget", "rsync", "nfs-utils", "firewalld", "chrony"])
files.line(path="/etc/selinux/config", line="^SELINUX=.*", replace="SELINUX=disabled")
if host.get_fact(Command, "getenforce") == "Enforcing":
    server.shell(commands=["setenforce 0"])
if host.get_fact(Command, "readlink /etc/localtime") != "/usr/share/zoneinfo/Asia/Tehran":
    server.shell(commands=["timedatectl set-timezone Asia/Tehran"])
server.user(user="rocky", groups=["wheel"], shell="/bin/bash", append=True)
files.directory(path="/home/rocky/.ssh", mode="700", user="rocky", group="rocky")
files.line(path="/home/rocky/.ssh/authorized_keys", line=PUBLIC_KEY, escape_regex_characters=True)
files.block(path="/etc/hosts", content=BLOCK, marker="# {mark} Airflow HA Cluster Infrastructure")
systemd.service(service="firewalld.service", running=True, enabled=True)
host.get_fact(Command, "firewall-cmd --list-all")
host.get_fact(Command, "firewall-cmd --permanent --list-all")
systemd.service(service="chronyd.service", running=True, enabled=True)
