"""Steps and handlers for systemd units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from runbook.declare.step import Handler, Step
from runbook.declare.steps.commands import not_noted
from runbook.declare.steps.files import file, template
from runbook.declare.templates import render as rendered


def unit(name: str, source: str, context: Mapping[str, Any]) -> Step:
    """A unit of our own, from `files/SOURCE`, which systemd has verified."""
    step = template(f"/etc/systemd/system/{name}", source, context)
    is_template = "@." in name
    return replace(
        step,
        test=step.test if is_template else f"{step.test} && unit_is {name} read",
        apply=f"{step.apply}\nsystemctl daemon-reload\nsystemd-analyze verify {name}",
        units=() if is_template else (name,),
    )


def drop_in(unit: str, source: str) -> Step:
    """A drop-in of the unit, from `files/SOURCE`; takes effect at the unit's next start."""
    name = source.rpartition("/")[2].removesuffix(".j2")
    path = f"/etc/systemd/system/{unit}.d/{name}"
    text = rendered(source, {})
    step = file(path, text)
    apply = f"install -d /etc/systemd/system/{unit}.d\n{step.apply}\nsystemctl daemon-reload"
    return replace(step, test=f"{step.test} && unit_is {unit} read", apply=apply, units=(unit,))


def service(name: str) -> Step:
    """A unit runs now and after a reboot."""
    return Step(
        f"{name} runs and is enabled",
        test=f"unit_is {name} active enabled",
        apply=f"systemctl enable --now {name}",
        units=(name,),
    )


def enabled(name: str) -> Step:
    """A unit starts at boot, whether it runs now or not."""
    return Step(
        f"{name} is enabled",
        test=f"unit_is {name} enabled",
        apply=f"systemctl enable {name}",
        units=(name,),
    )


def service_off(name: str) -> Step:
    """A unit neither runs nor starts at boot, or does not exist."""
    return Step(
        f"{name} neither runs nor starts at boot",
        test=f"unit_is {name} inactive disabled || "
        f"[[ $(systemctl show -p LoadState {name}) == LoadState=not-found ]]",
        apply=f"systemctl disable --now {name}",
        units=(name,),
    )


def stopped(name: str, timeout: int = 600) -> Step:
    """A unit does not run and is not starting; whether it starts at boot is not changed."""
    return Step(
        f"{name} has stopped",
        test=f"[[ $(systemctl is-active {name}) =~ ^(inactive|failed|unknown)$ ]]",
        apply=f"systemctl stop {name}",
        timeout=timeout,
    )


def masked(*names: str) -> Step:
    """Units are masked: nothing can start them, not even units that depend on them."""
    words = " ".join(names)
    tests = " && ".join(f"$(readlink /etc/systemd/system/{name}) == /dev/null" for name in names)
    # systemd 239: `mask --now` fails if a unit does not exist, although it masks the unit.
    stop = f"systemctl stop {words} || ! systemctl is-active -q {words}"
    return Step(f"masked: {words}", test=f"[[ {tests} ]]", apply=f"systemctl mask {words}\n{stop}")


def reloaded(name: str) -> Handler:
    """The service reads its configuration again, if it runs."""
    apply = f"if systemctl is-active -q {name}; then systemctl reload {name}; fi"
    return Handler(f"reload-{name}", f"reload {name}", apply)


def restarted(name: str) -> Handler:
    """The service restarts once if a step that names this handler changed something."""
    return Handler(f"restart-{name}", f"restart {name}", f"systemctl restart {name}")


def restarted_if_running(name: str) -> Handler:
    """The unit restarts, if it runs here."""
    return Handler(f"try-restart-{name}", f"restart {name}", f"systemctl try-restart {name}")


def restarted_if_noted(unit: str, note: Handler, apply: str, timeout: int = 300) -> Step:
    """Restart a unit with `apply` if an earlier task noted that this is needed."""
    return Step(
        f"{unit} runs with its present settings",
        test=f"{not_noted(note)}",
        apply=apply,
        clears=(note,),
        timeout=timeout,
    )
