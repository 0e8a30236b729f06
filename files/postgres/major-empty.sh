# shellcheck shell=bash
: "${old:?}" "${new:?}" "${data:?}" "${empty:?}"
# An empty database of the new version, as pg_upgrade wants it: like the old one in what initdb
# decides. Locale and encoding of each database follow with the upgrade (since PostgreSQL 16).
export LC_ALL=C
control=$(runuser -u postgres -- "$old/pg_controldata" -D "$data")

value() { # NAME
  sed -n "s/^$1: *//p" <<<"$control"
}

options=(--pgdata="$empty" --username=postgres --encoding=UTF8 --locale=C.UTF-8)
options+=(--auth-local=peer --auth-host=scram-sha-256)
options+=(--wal-segsize=$(($(value 'Bytes per WAL segment') >> 20)))
if [[ $(value 'Data page checksum version') != 0 ]]; then
  options+=(--data-checksums)
elif "$new/initdb" --help | grep -qe --no-data-checksums; then
  options+=(--no-data-checksums)
fi
runuser -u postgres -- env --chdir="${empty%/*}" "$new/initdb" "${options[@]}" >/dev/null
