# shellcheck shell=bash
: "${programs:?}" "${address:?}"
# What runs on this server, and what is installed, one line each. What does not answer has no line.
runs=$(timeout 8 runuser -u postgres -- psql -X -A -t -q -c 'show server_version' 2>/dev/null) &&
  echo "runs PostgreSQL $runs"
installed=$("$programs/postgres" --version 2>/dev/null) && echo "installed PostgreSQL ${installed#*) }"

pattern='"patroni": *\{[^}]*"version": *"([0-9.]+)"'
[[ $(curl -s -m 3 "http://$address:8008/patroni") =~ $pattern ]] &&
  echo "runs Patroni ${BASH_REMATCH[1]}"
installed=$(rpm -q --qf '%{VERSION}' patroni 2>/dev/null) && echo "installed Patroni $installed"

pattern='"etcdserver": *"([0-9.]+)"'
[[ $(curl -s -m 3 "http://$address:2379/version") =~ $pattern ]] &&
  echo "runs etcd ${BASH_REMATCH[1]}"
pattern='Version: *([0-9.]+)'
installed=$(etcd --version 2>/dev/null) && [[ $installed =~ $pattern ]] &&
  echo "installed etcd ${BASH_REMATCH[1]}"
true
