"""RabbitMQ and Erlang as RabbitMQ's own yum repositories have them."""

from __future__ import annotations

from lab.packages.model import RABBITMQ_ERLANG, RABBITMQ_SERVER, Directory, Package, User

COMMANDS = "/usr/sbin"
DECOY = "A decoy without files"

PACKAGES: dict[str, Package] = {
    "erlang": Package(
        debs=(
            "erlang-base",
            "erlang-asn1",
            "erlang-crypto",
            "erlang-eldap",
            "erlang-ftp",
            "erlang-inets",
            "erlang-mnesia",
            "erlang-os-mon",
            "erlang-parsetools",
            "erlang-public-key",
            "erlang-runtime-tools",
            "erlang-snmp",
            "erlang-ssl",
            "erlang-syntax-tools",
            "erlang-tftp",
            "erlang-tools",
            "erlang-xmerl",
        ),
        repository=RABBITMQ_ERLANG,
        # RabbitMQ starts epmd itself: the vendor's package has no unit for it.
        remove=("/usr/lib/systemd",),
    ),
    "rabbitmq-server": Package(
        debs=("rabbitmq-server",),
        repository=RABBITMQ_SERVER,
        noarch=True,
        # What the vendor's 3.12.10 asks for; Debian would bring socat along, too.
        requires=("erlang >= 25.0", "erlang < 27.0", "logrotate"),
        without=("erlang", "socat"),
        remove=(
            "/usr/bin",
            "/usr/lib/rabbitmq/autocomplete",
            "/usr/lib/rabbitmq/bin/rabbitmq-script-wrapper",
            "/usr/lib/rabbitmq/bin/rabbitmq-server-wait",
            "/usr/share/rabbitmq",
        ),
        links={
            f"{COMMANDS}/rabbitmq-{name}": "rabbitmqctl"
            for name in ("diagnostics", "plugins", "queues", "server", "streams", "upgrade")
        },
        directories={
            "/etc/rabbitmq": Directory("2755", "root", "rabbitmq"),
            "/var/lib/rabbitmq": Directory("755", "rabbitmq", "rabbitmq"),
            "/var/lib/rabbitmq/mnesia": Directory("750", "rabbitmq", "rabbitmq"),
            "/var/log/rabbitmq": Directory("755", "rabbitmq", "rabbitmq"),
        },
        users=(User("rabbitmq", home="/var/lib/rabbitmq"),),
    ),
    # Whoever names no version gets these: the first is one that the server's package accepts and
    # RabbitMQ does not support, the second is one that nothing can be installed with.
    "erlang-unsupported": Package(
        name="erlang", version="26.2.5.16", repository=RABBITMQ_ERLANG, summary=DECOY
    ),
    "erlang-unusable": Package(
        name="erlang", version="27.3.4.6", repository=RABBITMQ_ERLANG, summary=DECOY
    ),
    "rabbitmq-server-newer": Package(
        name="rabbitmq-server",
        version="3.13.7",
        repository=RABBITMQ_SERVER,
        noarch=True,
        summary=DECOY,
        requires=("erlang >= 26.0", "erlang < 27.0"),
    ),
}
