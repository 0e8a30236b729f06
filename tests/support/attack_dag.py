"""What the author of a DAG tries on a worker, and what tasks must still be able to do."""

import ctypes
import json
import os
import socket
from datetime import datetime
from pathlib import Path

from airflow import DAG
from airflow.operators.bash import BashOperator
from airflow.operators.python import PythonOperator

CLONE_NEWUSER = 0x10000000


def outcome(action):
    """`done`, or why not."""
    try:
        action()
    except OSError as error:
        return os.strerror(error.errno)
    return "done"


def call(name, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments):
        raise OSError(ctypes.get_errno(), name)


def attack():
    status = dict(
        line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines()
    )
    own = Path("/tmp/suid")
    own.touch()
    found = {
        "read /root/open/secret": outcome(Path("/root/open/secret").read_text),
        "read /home/open/secret": outcome(Path("/home/open/secret").read_text),
        "write /etc/open": outcome(Path("/etc/open/by-a-task").touch),
        "write /usr/open": outcome(Path("/usr/open/by-a-task").touch),
        "write /opt/airflow/open": outcome(Path("/opt/airflow/open/by-a-task").touch),
        "write /srv/open": outcome(Path("/srv/open/by-a-task").touch),
        "list /usr/lib/modules": outcome(lambda: list(Path("/usr/lib/modules").iterdir())),
        "see /dev/fuse": outcome(Path("/dev/fuse").stat),
        "make a file set-user-id": outcome(lambda: own.chmod(0o4755)),
        "a user namespace": outcome(lambda: call("unshare", CLONE_NEWUSER)),
        "a packet socket": outcome(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)),
        "capabilities": {key: status[key] for key in status if key.startswith("Cap")},
        "no new privileges": status["NoNewPrivs"],
        "write home": outcome(Path("~/by-a-task").expanduser().touch),
        "from an earlier task": Path("/tmp/left-by-bash").read_text(),
    }
    Path("/tmp/attack.json").write_text(json.dumps(found))


with DAG(
    "attack",
    start_date=datetime(2024, 1, 1),
    schedule=None,
    catchup=False,
    is_paused_upon_creation=False,
):
    bash = BashOperator(task_id="bash", bash_command="echo here >/tmp/left-by-bash")
    bash >> PythonOperator(task_id="attack", python_callable=attack)
