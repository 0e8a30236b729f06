# shellcheck shell=bash
: "${programs:?}" "${data:?}" "${kind:?}"
# Stops PostgreSQL without Patroni. A leader waits until its replicas have everything; a replica
# first replays what it has received, so that all end at the same checkpoint.
as_postgres() {
  runuser -u postgres -- "$@"
}

if ! as_postgres "$programs/pg_ctl" -D "$data" status >/dev/null; then
  echo 'PostgreSQL does not run here, and was not shut down cleanly. Nothing was upgraded. To go on'
  echo 'with the old version, set versions.postgresql back: fab postgres.upgrade --major --back'
  exit 1
fi
if [[ $kind == replica ]]; then
  query='select pg_last_wal_receive_lsn() <= pg_last_wal_replay_lsn()'
  until [[ $(as_postgres psql -XqAt -d postgres -c "$query") == t ]]; do sleep 0.5; done
fi
as_postgres "$programs/pg_ctl" -D "$data" stop -m fast -t 900
