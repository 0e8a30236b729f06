# shellcheck shell=bash
: "${unit:?}" "${programs:?}" "${data:?}"
systemd-run --quiet --collect --unit="$unit" --property=User=postgres \
  --property=KillSignal=SIGINT --property=KillMode=mixed --property=TimeoutStopSec=600 \
  "$programs/postgres" -D "$data" -c listen_addresses= \
  -c synchronous_standby_names= -c hot_standby=off
until [[ $(runuser -u postgres -- psql -XqAt -c 'select pg_is_in_recovery()' 2>/dev/null) == f ]]; do
  if ! systemctl is-active -q "$unit"; then
    # shellcheck disable=SC2016
    runuser -u postgres -- bash -c 'cat "$1"/log/*.log | tail -n 8' - "$data"
    echo 'It stopped; the lines above say why. If no row is newer than that moment: latest'
    exit 1
  fi
  sleep 1
done
