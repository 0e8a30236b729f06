# shellcheck shell=bash
: "${data:?}" "${dropped:?}" "${verified:?}"
# Figures of this server, one line each: a word and its values. What does not answer has no line.
export LC_ALL=C

find "$data/pg_wal/archive_status/" -name '*.ready' -printf '%T@\n' 2>/dev/null | sort -n |
  awk -v now="$(date +%s)" 'NR == 1 { oldest = now - $1 } END { print "waiting", NR, int(oldest) }'
find /var/lib/etcd/snapshots -maxdepth 1 -name '*.db' -printf 'snapshot %T@\n' 2>/dev/null |
  sort -k2n | tail -1 | sed 's/[.].*//'
[[ ! -e $verified ]] || sed 's/^/verified /;q' "$verified"
[[ ! -e $dropped ]] || echo "dropped $(stat -c %Y "$dropped")"

timeout 8 runuser -u postgres -- psql -X -A -t -q 2>/dev/null <<'SQL'
select format('archiving %s', case when last_failed_time > coalesce(last_archived_time, '-infinity')
  then 'fails' else 'works' end) from pg_stat_archiver;
select format('connections %s %s', count(*), current_setting('max_connections')::int
  - current_setting('superuser_reserved_connections')::int)
  from pg_stat_activity where backend_type = 'client backend';
select format('corrupt %s', coalesce(sum(checksum_failures), 0)) from pg_stat_database;
select format('age %s %s', max(age(datfrozenxid)), current_setting('autovacuum_freeze_max_age'))
  from pg_database;
SQL

pid=$(systemctl show -p MainPID --value patroni.service)
if [[ ! -e /dev/watchdog ]]; then
  echo 'watchdog none'
elif readlink "/proc/$pid/fd/"* 2>/dev/null | grep -q '^/dev/watchdog'; then
  echo 'watchdog armed'
else
  echo 'watchdog idle'
fi
