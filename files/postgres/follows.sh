# shellcheck shell=bash
: "${address:?}" "${settings:?}" "${trusted:?}" "${data:?}" "${patience:?}"
# Waits until this server leads, or streams from the leader: for as long as its copy of the leader
# grows or its replay of WAL advances, and for $patience seconds without either.
progress() {
  du -s "$data" 2>/dev/null || :
  pgrep -u postgres -a -f 'startup recovering' || :
}

serves() {
  local rest=http://$address:8008 options=(-sf -m 5 -o /dev/null)
  if grep -qs '^  verify_client: ' "$settings"; then
    rest=https://$address:8008 options+=(--cacert "$trusted")
  fi
  curl "${options[@]}" "$rest/primary" ||
    curl "${options[@]}" "$rest/replica?replication_state=streaming"
}

seen='' last=$SECONDS
until serves; do
  now=$(progress)
  if [[ $now != "$seen" ]]; then
    seen=$now last=$SECONDS
  elif ((SECONDS - last > patience)); then
    echo "no progress for $patience s; see journalctl -u patroni, and $data/log"
    exit 1
  fi
  for _ in {1..10}; do
    if serves; then break; fi
    sleep 1
  done
done
