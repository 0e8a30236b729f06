"""Reads releases on a server again and again, as Airflow does: release_reader.py DAGS SECONDS.

Each time in a process of its own, as a task is: the DAG `consistent`, which has to be of one
release, and the list of files, of which .airflowignore keeps some away. Prints what was seen.
"""

import collections
import json
import os
import sys
import time

dags, seconds = sys.argv[1], float(sys.argv[2])
os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "CRITICAL"

import airflow_releases  # noqa: E402
from airflow.models.dagbag import DagBag  # noqa: E402
from airflow.utils.file import list_py_file_paths  # noqa: E402

airflow_releases.YOUNG = 0  # the moment of the change is what is looked for


def seen() -> list[str]:
    bag = DagBag(f"{dags}/consistent.py", include_examples=False)
    said = [text.strip().splitlines()[-1] for text in bag.import_errors.values()]
    said += [tag for dag in bag.dags.values() for tag in dag.tags]
    paths = list_py_file_paths(dags, include_examples=False)
    said += ["an ignored folder" for path in paths if "/tests/" in path or "/.releases/" in path]
    return sorted(set(said)) or ["nothing"]


def of_a_process() -> list[str]:
    read, write = os.pipe()
    if not os.fork():
        try:
            said = seen()
        except BaseException as error:
            said = [repr(error)]
        os.write(write, json.dumps(said).encode())
        os._exit(0)
    os.close(write)
    with open(read) as answer:  # noqa: PTH123
        said = json.load(answer)
    os.wait()
    return said


found: collections.Counter = collections.Counter()
deadline = time.monotonic() + seconds
while time.monotonic() < deadline:
    found.update([" and ".join(of_a_process())])
print(json.dumps(found))
