"""Known vulnerabilities of the versions of Airflow that this project installs.

From Apache's advisories. Those that exist only in Airflow 3, in its examples or in its
documentation are left out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

AS_OF = "2026-07-21"
"""The date of the advisories that were read."""

SOURCE = "https://security.apache.org/projects/airflow/"
THREADS = "https://lists.apache.org/thread/"


@dataclass(frozen=True)
class Vulnerability:
    """An advisory: affected is every version from `since` (0: from the beginning) before `fixed`.

    `thread`: the announcement, in the archive of Apache's mailing lists.
    """

    cve: str
    since: str
    fixed: str
    impact: str
    thread: str

    def affects(self, version: str) -> bool:
        """Whether a version of Airflow has it."""
        return number(self.since) <= number(version) < number(self.fixed)


KNOWN = (
    Vulnerability(
        "CVE-2023-47265",
        "2.6.0",
        "2.8.0",
        "a DAG author shows JavaScript to whoever looks at the DAG's parameters",
        "128f3zl375vb1qv93k82zhnwkpl233pr",
    ),
    Vulnerability(
        "CVE-2023-48291",
        "0",
        "2.8.0",
        "a user with access to some DAGs changes others",
        "3nl0h014274yjlt1hd02z0q78ftyz0z3",
    ),
    Vulnerability(
        "CVE-2023-49920",
        "2.7.0",
        "2.8.0",
        "a foreign web page triggers DAGs in the browser of a user who is logged in",
        "mnwd2vcfw3gms6ft6kl951vfbqrxsnjq",
    ),
    Vulnerability(
        "CVE-2023-50783",
        "0",
        "2.8.0",
        "a user without permission to edit variables changes them",
        "rs7cr3yp726mb89s1m844hy9pq7frgcn",
    ),
    Vulnerability(
        "CVE-2023-50943",
        "0",
        "2.8.1",
        "a DAG author gets around `enable_xcom_pickling = False`",
        "fx278v0twqzxkcts70tc04cp3f8p56pn",
    ),
    Vulnerability(
        "CVE-2023-50944",
        "0",
        "2.8.1",
        "a user reads the code of DAGs that are not theirs",
        "92krb5mpcq8qrw4t4j5oooqw7hgd8q7h",
    ),
    Vulnerability(
        "CVE-2024-26280",
        "0",
        "2.8.2",
        "viewers read the whole audit log",
        "knskxxxml95091rsnpxkpo1jjp8rj0fh",
    ),
    Vulnerability(
        "CVE-2024-27906",
        "0",
        "2.8.2",
        "a user reads code and import errors of DAGs that are not theirs",
        "on4f7t5sqr3vfgp1pvkck79wv7mq9st5",
    ),
    Vulnerability(
        "CVE-2024-31869",
        "2.7.0",
        "2.9.0",
        "a user reads sensitive settings, where `expose_config` is `non-sensitive-only`",
        "pz6vg7wcjk901rmsgt86h76g6kfcgtk3",
    ),
    Vulnerability(
        "CVE-2024-32077",
        "2.9.0",
        "2.9.1",
        "a user puts content of their own into the page with a task's log",
        "gsjmnrqb3m5fzp0vgpty1jxcywo91v77",
    ),
    Vulnerability(
        "CVE-2024-25142",
        "0",
        "2.9.2",
        "browsers keep pages with sensitive content in their cache",
        "cg1j28lk0fhzthk0of1g7vy7p2n1j7nr",
    ),
    Vulnerability(
        "CVE-2024-39863",
        "0",
        "2.9.3",
        "a link of a malicious provider runs JavaScript in the web UI",
        "gxkvs279f1mbvckv5q65worr6how20o3",
    ),
    Vulnerability(
        "CVE-2024-39877",
        "2.4.0",
        "2.9.3",
        "a DAG author runs code in the scheduler, by `doc_md`",
        "1xhj9dkp37d6pzn24ll2mf94wbqnb2y1",
    ),
    Vulnerability(
        "CVE-2024-41937",
        "0",
        "2.10.0",
        "a link of a malicious provider runs JavaScript in the web UI",
        "lwlmgg6hqfmkpvw5py4w53hxyl37jl6d",
    ),
    Vulnerability(
        "CVE-2024-45034",
        "0",
        "2.10.1",
        "a DAG author runs code in the scheduler, by a settings module in the DAG folder",
        "b4fcw33vh60yfg9990n5vmc7sy2dcgjx",
    ),
    Vulnerability(
        "CVE-2024-45784",
        "0",
        "2.10.3",
        "secret settings appear in task logs",
        "k2jm55jztlbmk4zrlh10syvq3n57hl4h",
    ),
    Vulnerability(
        "CVE-2024-50378",
        "0",
        "2.10.3",
        "variables that the command line sets appear in the audit log",
        "17rxys384lzfd6nhm3fztzgvk47zy7jb",
    ),
    Vulnerability(
        "CVE-2024-56373",
        "0",
        "2.11.1",
        "a DAG author runs code in the webserver, by the history of log templates",
        "2vrmrhcht6g7cp5yjxpnrk2wtrncm6cy",
    ),
    Vulnerability(
        "CVE-2025-27555",
        "0",
        "2.11.1",
        "connections that the command line sets appear in the audit log",
        "nxovkp319jo8vg498gql1yswtb2frbkw",
    ),
    Vulnerability(
        "CVE-2025-65995",
        "0",
        "2.11.1",
        "secret arguments of operators appear in the web UI when a DAG cannot be imported",
        "1qzlrjo2wmlzs0rrgzgslj2pzkor0dr2",
    ),
    Vulnerability(
        "CVE-2025-68675",
        "0",
        "2.11.1",
        "passwords in the proxy settings of connections appear in task logs",
        "x6kply4nqd4vc4wgxtm6g9r2tt63s8c5",
    ),
    Vulnerability(
        "CVE-2026-25219",
        "0",
        "3.1.8",
        "`access_key` and `connection_string` of connections are not masked",
        "t4dlmqkn0njz4chk3g7mdgzb96y4ttqh",
    ),
    Vulnerability(
        "CVE-2026-25917",
        "0",
        "3.2.0",
        "a DAG author runs code in the webserver, by XCom and extra links",
        "6whgpkqbh12rvpfmvcg8b0vwlv4hq3po",
    ),
    Vulnerability(
        "CVE-2026-40861",
        "0",
        "3.2.2",
        "a DAG author reads the webserver's files, where workers and webservers share logs",
        "823334db2559xjlwt59gpzjz47thnscl",
    ),
    Vulnerability(
        "CVE-2026-42358",
        "0",
        "3.2.2",
        "secrets deep in a JSON variable are not masked",
        "33635mv3zjb75wn5453c5yf9trs8x2om",
    ),
    Vulnerability(
        "CVE-2026-42360",
        "0",
        "3.2.2",
        "secrets in long rendered templates are not masked",
        "obj79bpxnl7r5olz1gsn0g94y88glnl4",
    ),
    Vulnerability(
        "CVE-2026-49267",
        "2.0.0",
        "3.2.2",
        "mail sent with STARTTLS does not verify the server's certificate",
        "6v2ds757000msmjmovnnqryqzks83ps0",
    ),
    Vulnerability(
        "CVE-2026-33264",
        "0",
        "3.3.0",
        "a DAG author runs code in the scheduler and the webserver, by a serialized DAG",
        "otvdw8qt2y7xy2n5nq9xby9ky4rf5ltj",
    ),
    Vulnerability(
        "CVE-2026-48892",
        "0",
        "3.3.0",
        "users who may read the configuration read credentials of a secrets backend",
        "pq5yy40079h6tzh3fxvw28dd8dbk72hk",
    ),
    Vulnerability(
        "CVE-2026-49487",
        "0",
        "3.3.0",
        "users read secret arguments of deferred tasks",
        "qlw6pozlzlfhkvmbgqsbjlq6vj4v0pc4",
    ),
)
"""In the order of the versions that fix them."""


def number(version: str) -> tuple[int, ...]:
    """A version, to be compared with others."""
    return tuple(map(int, re.findall(r"\d+", version)))


def of(version: str) -> list[Vulnerability]:
    """What is known of a version of Airflow."""
    return [one for one in KNOWN if one.affects(version)]


def advice(version: str, installable: Collection[str]) -> str:
    """What to know of a version's vulnerabilities, in several lines; empty without any.

    `installable`: the versions that this project can install.
    """
    found = of(version)
    if not found:
        return ""
    fixes = list(dict.fromkeys(one.fixed for one in found))
    lines = [
        f"Airflow {version} has {len(found)} known vulnerabilities "
        f"(Apache's advisories of {AS_OF}):",
        *(
            f"  fixed in {fix}: {', '.join(one.cve for one in found if one.fixed == fix)}"
            for fix in fixes
        ),
        f"The lowest version without them is {fixes[-1]}.{_within_series(version, fixes)}",
        f"{_choice(version, installable)} docs/security.md has a sentence on each.",
    ]
    return "\n".join(lines)


def _within_series(version: str, fixes: Sequence[str]) -> str:
    """The last fixes that come without a new major version, if others need one."""
    same = [fix for fix in fixes if number(fix)[0] == number(version)[0]]
    if not same or same == list(fixes):
        return ""
    return f" Those up to {same[-1]} are fixed in Airflow {number(version)[0]}."


def _choice(version: str, installable: Collection[str]) -> str:
    """Whether another version that can be installed has fewer of them."""
    best = min(installable, key=lambda one: len(of(one)))
    if len(of(best)) < len(of(version)):
        return (
            f"Of the versions that this project installs, {best} has the fewest ({len(of(best))})."
        )
    others = " and ".join(installable)
    return f"This project installs {others} only, of which {version} has the fewest."
