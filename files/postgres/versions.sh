# shellcheck shell=bash
: "${programs:?}"
# What runs on this server, and what is installed, one line each. What does not answer has no line.
# The functions ask_patroni and ask_etcd are the caller's.
runs=$(timeout 8 runuser -u postgres -- psql -X -A -t -q -c 'show server_version' 2>/dev/null) &&
  echo "runs PostgreSQL $runs"
installed=$("$programs/postgres" --version 2>/dev/null) && echo "installed PostgreSQL ${installed#*) }"

pattern='"patroni": *\{[^}]*"version": *"([0-9.]+)"'
[[ $(ask_patroni) =~ $pattern ]] &&
  echo "runs Patroni ${BASH_REMATCH[1]}"
installed=$(rpm -q --qf '%{VERSION}' patroni 2>/dev/null) && echo "installed Patroni $installed"

pattern='"etcdserver": *"([0-9.]+)"'
[[ $(ask_etcd) =~ $pattern ]] &&
  echo "runs etcd ${BASH_REMATCH[1]}"
pattern='Version: *([0-9.]+)'
installed=$(etcd --version 2>/dev/null) && [[ $installed =~ $pattern ]] &&
  echo "installed etcd ${BASH_REMATCH[1]}"
true
