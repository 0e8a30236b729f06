"""What the tasks of `inv` work on: this runbook, its inventory, a run of it."""

from __future__ import annotations

from contextlib import AbstractContextManager

from runbook.execute import session as engine
from runbook.execute.run import Options, Run
from runbook.inventory.cluster import Cluster


def session(options: Options, as_json: bool = False) -> AbstractContextManager[Run]:
    """A run on the configured inventory, whose connections are closed at the end."""
    from .. import CONTENTS

    return engine.session(CONTENTS, options, as_json)


def configured() -> Cluster:
    """The inventory that the environment names, or hosts.yaml."""
    from .. import CONTENTS

    return CONTENTS.configured()
