# shellcheck shell=bash
: "${old:?}" "${new:?}" "${from:?}" "${to:?}"
# pg_upgrade in link mode: the new data directory gets the files of the old one, which can be used
# again until a server starts in the new one.
export LC_ALL=C

as_postgres() {
  runuser -u postgres -- env --chdir="${to%/*}" "$@"
}

# A former attempt may have been cut off while it ran the old server.
if as_postgres "$old/pg_ctl" -D "$from" status >/dev/null; then
  as_postgres "$old/pg_ctl" -D "$from" stop -m fast -t 600
fi
if ! as_postgres "$new/pg_upgrade" --link --old-bindir="$old" --new-bindir="$new" \
  --old-datadir="$from" --new-datadir="$to"; then
  as_postgres find "$to/pg_upgrade_output.d" -name '*.log' -size +0 -exec tail -n 20 {} +
  exit 1
fi
# The first one would delete the old data; the other one is done by its own step.
as_postgres rm -f "${to%/*}/delete_old_cluster.sh" "${to%/*}/update_extensions.sql"
