# shellcheck shell=bash
: "${stanza:?}" "${programs:?}" "${folder:?}" "${unit:?}" "${result:?}" "${fetch:?}"
# Restores the newest backup beside the database, opens it where no client finds it, reads all of
# it, and removes it again. The result is a line: ok or failed, when, the tables, their rows.
export LC_ALL=C
port=5499

as_postgres() {
  runuser -u postgres -- "$@"
}

finish() {
  local code=$?
  if systemctl is-active -q "$unit"; then systemctl stop "$unit"; fi
  as_postgres rm -rf "$folder"
  install -d -m 0755 "${result%/*}"
  if ((code)); then echo "failed $(date +%s) 0 0" >"$result"; fi
  exit "$code"
}
trap finish EXIT

ask() {
  as_postgres psql -X -A -t -q -v ON_ERROR_STOP=1 -h "$folder" -p "$port" "$@"
}

as_postgres rm -rf "$folder"
as_postgres mkdir -m 0700 "$folder"
as_postgres pgbackrest --stanza="$stanza" --pg1-path="$folder" --type=immediate \
  --target-action=promote --recovery-option="restore_command=$fetch" restore
systemd-run --quiet --collect --unit="$unit" --property=User=postgres \
  --property=KillSignal=SIGINT --property=KillMode=mixed --property=TimeoutStopSec=300 \
  --property=Nice=10 --property=IOSchedulingClass=idle \
  "$programs/postgres" -D "$folder" -c listen_addresses= -c port="$port" \
  -c unix_socket_directories="$folder" -c archive_mode=off -c synchronous_standby_names= \
  -c hot_standby=off -c shared_preload_libraries= -c shared_buffers=64MB
until [[ $(ask -c 'select pg_is_in_recovery()' 2>/dev/null) == f ]]; do
  if ! systemctl is-active -q "$unit"; then
    as_postgres find "$folder/log" -name '*.log' -exec tail -n 8 {} +
    exit 1
  fi
  sleep 1
done

as_postgres "$programs/pg_amcheck" --install-missing --host="$folder" --port="$port" \
  --heapallindexed airflow
read -r tables rows < <(ask -d airflow -F ' ' <<'SQL'
select count(*), coalesce(sum((xpath('/row/n/text()', query_to_xml(
  format('select count(*) as n from %s', oid::regclass), false, true, '')))[1]::text::bigint), 0)
from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace
SQL
)
[[ $rows ]]
install -d -m 0755 "${result%/*}"
echo "ok $(date +%s) $tables $rows" >"$result.new"
mv "$result.new" "$result"
echo "$tables tables with $rows rows; no index and no table is damaged"
