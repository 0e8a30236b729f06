"""What an operator sees of each single fault, as docs/status-transcripts.md shows it.

LAB_NAME=… .venv/bin/python tests/transcripts.py >docs/status-transcripts.md
The lab has to be up, with the whole cluster on it (make demo). It takes about half an hour.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.faults_and_status import FAULTS, Fault, Operator

from lab.machine import Lab

HEAD = """# What `inv cluster.status` says of each single fault

Made by `tests/transcripts.py` on a lab that `make demo` had brought up; the script's docstring
says how to make it again. Each fault strikes a cluster that is well. The status is shown once it
names the fault; then comes what it told to do, and how long it took until all was well again.
"""


def main() -> None:
    operator = Operator(Lab.open(os.environ.get("LAB_NAME")))
    chosen = [fault for fault in FAULTS if not sys.argv[1:] or fault.name in sys.argv[1:]]
    seen = operator.status("--wait 300")
    assert seen.code == 0, seen.text
    print(f"{HEAD}\n## All is well\n\n```\n$ inv cluster.status\n{seen.text.rstrip()}\n```")
    for fault in chosen:
        print(transcript(operator, fault), flush=True)
        print(f"{fault.name}: done", file=sys.stderr)


def transcript(operator: Operator, fault: Fault) -> str:
    """One fault, from its beginning to its end."""
    struck = fault.strike(operator)
    began = time.monotonic()
    named = operator.wait_for(fault.code)
    seconds = time.monotonic() - began
    seen = operator.status()
    mended = fault.mend(operator, named)
    began = time.monotonic()
    after = operator.status("--wait 300")
    took = time.monotonic() - began
    assert after.code == 0, after.text
    first = after.text.splitlines()[0]
    return f"""
## {fault.name[0].upper()}{fault.name[1:]}

Named within {seconds:.0f} s; well again {took:.0f} s after it was mended.

```
# {struck}
$ inv cluster.status
{seen.text.rstrip()}
$ echo $?
{seen.code}
# {mended}
$ inv cluster.status --wait 300
{first}
```"""


if __name__ == "__main__":
    main()
