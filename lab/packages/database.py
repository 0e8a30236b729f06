"""PostgreSQL 15, Patroni and pgBackRest as PGDG packages them, and what AppStream has instead."""

from __future__ import annotations

from lab.packages.model import (
    PGDG15,
    PGDG_COMMON,
    Directory,
    Module,
    Package,
    Part,
    User,
    Wheel,
)

RELEASE = "1PGDG.rhel8"
HOME = "/var/lib/pgsql"
PROGRAMS = "/usr/pgsql-15"
POSTGRES = User("postgres", 26, home=HOME, shell="/bin/bash")
PRIVATE = Directory("700", "postgres", "postgres")

STREAM = Module("postgresql", "10", 8100020240409100115, "489197e6")
STREAM_RELEASE = "1.module+el8.10.0+1000+489197e6"

ON_PATH = (
    *("clusterdb", "createdb", "createuser", "dropdb", "dropuser", "pg_basebackup"),
    *("pg_dump", "pg_dumpall", "pg_restore", "psql", "reindexdb", "vacuumdb"),
)

# What PGDG's server package has itself of the libraries and extensions; the rest is contrib.
CORE = ("plpgsql*", "pgoutput.so", "libpqwalreceiver.so", "dict_snowball.so", "*_and_*")


def _install_alternatives() -> str:
    return (
        f"for name in {' '.join(ON_PATH)}; do\n"
        "    update-alternatives --quiet --install"
        f" /usr/bin/$name pgsql-$name {PROGRAMS}/bin/$name 1500\n"
        "done\n"
    )


def _remove_alternatives() -> str:
    return (
        f"[ $1 -ne 0 ] || for name in {' '.join(ON_PATH)}; do\n"
        f"    update-alternatives --quiet --remove pgsql-$name {PROGRAMS}/bin/$name\n"
        "done\n"
    )


PACKAGES: dict[str, Package] = {
    "postgresql15-libs": Package(debs=("libpq5",), repository=PGDG15, release=RELEASE),
    "postgresql15": Package(
        debs=("postgresql-client-15",),
        repository=PGDG15,
        release=RELEASE,
        provides=("postgresql",),
        move={"/usr/lib/postgresql/15": PROGRAMS},
        post=_install_alternatives(),
        preun=_remove_alternatives(),
    ),
    "postgresql15-server": Package(
        debs=("postgresql-15",),
        repository=PGDG15,
        release=RELEASE,
        provides=("postgresql-server",),
        remove=("/usr/lib/postgresql/15/lib/llvmjit*", "/usr/lib/postgresql/15/lib/bitcode"),
        move={"/usr/lib/postgresql/15": PROGRAMS},
        append={
            "/usr/share/postgresql/15/postgresql.conf.sample": (
                "\nlogging_collector = on\n"
                "log_filename = 'postgresql-%a.log'\n"
                "log_rotation_size = 0\n"
                "log_truncate_on_rotation = on\n"
            )
        },
        links={
            "/usr/bin/postgresql-15-setup": f"{PROGRAMS}/bin/postgresql-15-setup",
            f"{PROGRAMS}/bin/postmaster": "postgres",
            f"{PROGRAMS}/share": "/usr/share/postgresql/15",
        },
        directories={
            HOME: PRIVATE,
            f"{HOME}/15": PRIVATE,
            f"{HOME}/15/backups": PRIVATE,
            f"{HOME}/15/data": PRIVATE,
        },
        attributes={f"{HOME}/.bash_profile": PRIVATE},
        users=(POSTGRES,),
        post="systemd-tmpfiles --create postgresql-15.conf >/dev/null 2>&1 || :\n",
    ),
    "postgresql15-contrib": Package(
        part=Part(
            "postgresql15-server",
            paths=(
                f"{PROGRAMS}/bin/oid2name",
                f"{PROGRAMS}/bin/vacuumlo",
                f"{PROGRAMS}/lib/*.so",
                "/usr/share/postgresql/15/extension/*",
            ),
            but=CORE,
        ),
        repository=PGDG15,
        release=RELEASE,
        provides=("postgresql-contrib",),
        requires=("postgresql15-server",),
    ),
    "patroni": Package(
        wheel=Wheel(
            "patroni",
            "4.1.0",
            "c59286911f3099a66ef11e78216505100228caca2d53088b7199fe063bca0587",
            commands=("patroni", "patronictl", "patroni_raft_controller"),
        ),
        repository=PGDG_COMMON,
        release=RELEASE,
        summary="A template for PostgreSQL high availability",
        depends=(
            "python3-cdiff",
            "python3-click",
            "python3-cryptography",
            "python3-dateutil",
            "python3-prettytable",
            "python3-psutil",
            "python3-psycopg2",
            "python3-six",
            "python3-urllib3",
            "python3-wcwidth",
            "python3-yaml",
        ),
        # RHEL's package makes these in its scriptlet, so they are root's and outlive a removal.
        post="mkdir -p /var/log/patroni /etc/patroni/callbacks\n",
    ),
    "patroni-etcd": Package(
        version="4.1.0",
        repository=PGDG_COMMON,
        release=RELEASE,
        summary="What Patroni needs to use etcd",
        requires=("patroni",),
        depends=("python3-etcd", "python3-dnspython"),
    ),
    "python3-psycopg2": Package(
        debs=("python3-psycopg2",), repository=PGDG_COMMON, release=RELEASE
    ),
    "python3-etcd": Package(debs=("python3-etcd",), repository=PGDG_COMMON, release=RELEASE),
    "pgbackrest": Package(
        debs=("pgbackrest",),
        repository=PGDG_COMMON,
        release=RELEASE,
        directories={
            HOME: PRIVATE,
            "/var/lib/pgbackrest": PRIVATE,
            "/var/log/pgbackrest": PRIVATE,
            "/var/spool/pgbackrest": PRIVATE,
        },
        users=(POSTGRES,),
    ),
    "pgbouncer": Package(
        debs=("pgbouncer",),
        repository=PGDG_COMMON,
        release=RELEASE,
        remove=("/usr/lib/systemd/system/pgbouncer.socket", "/usr/share/pgbouncer"),
        move={"/usr/sbin/pgbouncer": "/usr/bin/pgbouncer"},
        files={
            "/usr/lib/tmpfiles.d/pgbouncer.conf": ("d /run/pgbouncer 0700 pgbouncer pgbouncer -\n"),
        },
        users=(User("pgbouncer", home="/home/pgbouncer", shell="/bin/bash"),),
        post="systemd-tmpfiles --create pgbouncer.conf >/dev/null 2>&1 || :\n",
    ),
    # The stream that AppStream has on unless one disables the module; decoys without files.
    "postgresql-stream": Package(
        name="postgresql", version="10.23", release=STREAM_RELEASE, module=STREAM
    ),
    "postgresql-server-stream": Package(
        name="postgresql-server",
        version="10.23",
        release=STREAM_RELEASE,
        module=STREAM,
        requires=("postgresql",),
    ),
    "postgresql-contrib-stream": Package(
        name="postgresql-contrib",
        version="10.23",
        release=STREAM_RELEASE,
        module=STREAM,
        requires=("postgresql",),
    ),
}
