"""Fabric's program, with the hosts and groups of hosts.yaml, and in parallel."""

from __future__ import annotations

from functools import partial
from typing import Any

import fabric
import invoke
from fabric.executor import Executor as FabricExecutor
from fabric.main import Fab
from invoke import Argument
from paramiko import SSHConfig

from runbook.cli.checkout import OwnLoader
from runbook.cli.listing import Listing
from runbook.cli.program import contents_of
from runbook.declare.namespace import SectionTask
from runbook.errors import USAGE, RunbookError

HELP = {
    "hosts": "Hosts and groups of hosts.yaml, such as sql1,@rabbitmq.",
    "dry": "Print the commands for typing by hand, without connecting.",
    "prompt-for-sudo-password": "Ask for the sudo password now, not when a host requires it.",
    "prompt-for-login-password": "Ask for the bootstrap user's password now.",
    "prompt-for-passphrase": "Ask for the key's passphrase now, not when it is needed.",
}
"""Help texts that replace Fabric's own."""


class Executor(FabricExecutor):
    """Runs tasks of sections in parallel on the hosts of hosts.yaml, and never on this machine."""

    def execute(self, *tasks: Any) -> dict[Any, Any]:
        """Run the tasks in the order given, then the command after `--`, if any."""
        try:
            code = self._execute(self.normalize(tasks))
        except RunbookError as error:
            raise invoke.Exit(str(error), error.exit_code) from None
        if code:
            raise invoke.Exit(code=code)
        return {}

    def _execute(self, calls: list[Any]) -> int:
        from runbook.execute.run import Options
        from runbook.execute.session import session

        if not calls and not self._flag("hosts"):
            raise invoke.Exit("No hosts are given. For example: fab -H @postgres -- uptime", USAGE)
        options = Options(
            hosts=self._flag("hosts") or "",
            plan=bool(self._flag("plan")),
            dry=bool(self.config.run.dry),
            yes=bool(self._flag("yes")),
            accept_host_keys=bool(self._flag("accept-host-keys")),
            keep_going=bool(self._flag("keep-going")),
        )
        contents = contents_of(self.collection)
        with session(contents, options, bool(self._flag("json")), self.config) as run:
            self._perform(run, calls)
        if not options.dry:
            run.report.recap(run.results, run.exit_code)
        return run.exit_code

    def _perform(self, run: Any, calls: list[Any]) -> None:
        from runbook.execute.tasks import perform

        for call in calls:
            if not isinstance(call.task, SectionTask):
                raise RunbookError(f"{call.called_as} is not a task of any section.")
            run.hosts_for(call.task.work)
        for number, call in enumerate(calls, 1):
            if not perform(run, call.task.work, dict(call.kwargs)):
                left = [later.called_as for later in calls[number:]]
                if left:
                    run.report.say(
                        f"\nnot started: {', '.join(left)} (use --keep-going to start them anyway)"
                    )
                return
        if self.core.remainder:
            from runbook.execute.ad_hoc import ad_hoc

            ad_hoc(run, self.core.remainder)

    def _flag(self, name: str) -> Any:
        arguments = self.core[0].args
        return arguments[name].value if name in arguments else None


class RunbookFab(Listing, Fab):
    """Fabric's program, plus options that apply to a whole run."""

    def core_args(self) -> list[Argument]:
        """Fabric's options and ours; all of them may come before or after task names."""
        inherited = super().core_args()
        for argument in inherited:
            ours = next((HELP[name] for name in argument.names if name in HELP), None)
            argument.help = ours or argument.help
        return [
            *inherited,
            Argument(
                names=("plan",),
                kind=bool,
                help="Connect, change nothing, show what would change.",
            ),
            Argument(names=("json",), kind=bool, help="Print one JSON document instead of text."),
            Argument(
                names=("yes",),
                kind=bool,
                help="Answer yes to every question but that of ssh.trust.",
            ),
            Argument(
                names=("accept-host-keys",),
                kind=bool,
                help="Let ssh.trust pin the keys of new servers without a question.",
            ),
            Argument(
                names=("keep-going",),
                kind=bool,
                help="Start the next task even if a host failed in this one.",
            ),
        ]

    def update_config(self, *arguments: Any, **options: Any) -> None:
        """Update the configuration as Fabric does; with -S, ssh reads that file."""
        super().update_config(*arguments, **options)
        if self.args["ssh-config"].value:
            self.config.ssh_config_path = self.args["ssh-config"].value

    def load_collection(self) -> None:
        """Load the sections and fabric.yaml, also for `fab -H … -- command`."""
        invoke.Program.load_collection(self)


def program() -> RunbookFab:
    """The program, which runs tasks on hosts."""
    return RunbookFab(
        name="Fabric",
        binary="fab",
        binary_names=["fab"],
        version=fabric.__version__,
        loader_class=OwnLoader,
        executor_class=Executor,
        config_class=partial(fabric.Config, ssh_config=SSHConfig()),  # ssh reads ssh_config
    )
