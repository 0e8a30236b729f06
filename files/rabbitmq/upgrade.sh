# shellcheck shell=bash
: "${packages:?}"
# Replace the packages of one node. Whatever dnf says, the node comes back: with the versions
# before, if nothing was replaced.
read -ra wanted <<<"$packages"
rabbitmq-upgrade drain
systemctl stop rabbitmq-server
result=0
dnf install -y --disableplugin=versionlock "${wanted[@]}" || result=$?
if ((result == 0)); then dnf versionlock delete erlang rabbitmq-server || :; fi
systemctl start rabbitmq-server
rabbitmqctl await_startup --timeout 600
rabbitmq-upgrade revive
until rabbitmq-diagnostics -q check_running; do sleep 1; done
exit "$result"
