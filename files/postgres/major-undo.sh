# shellcheck shell=bash
: "${old:?}" "${new:?}" "${from:?}" "${to:?}"
# The old data directory can be used again (pg_upgrade, "Reverting to old cluster"). The new one, in
# which no server has opened yet, is moved aside.
as_postgres() {
  runuser -u postgres -- env --chdir="${to%/*}" "$@"
}

stop_if_running() { # PROGRAMS DATA
  if as_postgres "$1/pg_ctl" -D "$2" status >/dev/null; then
    as_postgres "$1/pg_ctl" -D "$2" stop -m fast -t 600
  fi
}

if [[ -e $to/PG_VERSION ]]; then
  stop_if_running "$new" "$to"
  as_postgres mv -T "$to" "$to.unfinished-$(date +%Y%m%d-%H%M%S)"
fi
if [[ -e $from/global/pg_control.old && ! -e $from/global/pg_control ]]; then
  as_postgres mv -T "$from/global/pg_control.old" "$from/global/pg_control"
fi
