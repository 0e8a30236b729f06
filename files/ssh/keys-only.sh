# shellcheck shell=bash
: "${config:?}" "${block:?}" "${undo:?}" "${unit:?}" "${seconds:?}" "${user:?}" "${address:?}"
: "${port:?}"
# sshd takes the first value that it finds, so the block comes before all else, also drop-ins.
set -euo pipefail
new=$(mktemp "${config%/*}/.sshd_config.XXXXXX")
trap 'rm -f "$new"' EXIT
{
  echo "$block"
  sed "$undo" "$config"
} >"$new"
chown --reference="$config" "$new"
chmod --reference="$config" "$new"
sshd -t -f "$new"
for who in root "$user"; do
  said=$(sshd -T -f "$new" -C "user=$who,host=$address,addr=$address,laddr=$address,lport=$port")
  if grep -qxiE '(password|kbdinteractive|challengeresponse)authentication yes' <<<"$said"; then
    echo "A Match block of sshd's configuration lets $who log in with a password. Remove that first."
    exit 1
  fi
done
# If nobody keeps the change from a new login, sshd goes back to what it was.
systemctl stop "$unit.timer" 2>/dev/null || :
systemctl reset-failed "$unit.service" 2>/dev/null || :
systemd-run --quiet --unit="$unit" --on-active="$seconds" \
  bash -c "sed -i '$undo' $config && systemctl reload sshd.service"
# A reload only sends a signal: sshd has read the file when it listens at a new socket.
listener() { ss -Htlne "sport = :$port" | grep -o 'ino:[0-9]*' | sort; }
before=$(listener || :)
sync "$new"
mv "$new" "$config"
if selinuxenabled 2>/dev/null; then restorecon "$config"; fi
systemctl reload sshd.service
for _ in {1..100}; do
  now=$(listener || :)
  if [[ $now && $now != "$before" ]]; then break; fi
  sleep 0.1
done
