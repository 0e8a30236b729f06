# shellcheck shell=bash
: "${user:?}" "${scripts:?}" "${run:?}" "${sync:?}" "${ssh_config:?}"
# However this ends, this server serves again: if the other one did not take over, it keeps leading.
trap 'systemctl start nfs-server.service
  runuser -u "$user" -- rm -f "$run/handing-over"
  systemctl start keepalived.service' EXIT
runuser -u "$user" -- touch "$run/handing-over"
systemctl stop "$sync" nfs-server.service
runuser -u "$user" -- "$scripts/push" || {
  systemctl start --no-block "$sync"
  exit 1
}
runuser -u "$user" -- rm -f "$run/fit"
systemctl stop keepalived.service
for _ in {1..60}; do
  if [[ $(runuser -u "$user" -- ssh -F "$ssh_config" peer state) == *' yes' ]]; then exit; fi
  sleep 0.5
done
exit 1
