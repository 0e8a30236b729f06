# shellcheck shell=bash
: "${user:?}" "${login:?}" "${there:?}" "${receive:?}" "${slot:?}" "${folder:?}" "${mark:?}"
: "${made_from:?}" "${fingerprint:?}" "${again:?}"
# The folder goes to the other server as one archive; its mark stays here.
set -euo pipefail
read -ra ssh <<<"$login"
ask() { runuser -u "$user" -- "${ssh[@]}" "$there" "$receive $1 $slot $name"; }
found=$(cat "$mark" 2>/dev/null || :)
name=${found##* }
if [[ ${found% *} != "$made_from" || $name != $(bash -c "$fingerprint") ]]; then
  echo "$folder is not here, or it is damaged. First: $again"
  exit 1
fi
if ! tar -C "$folder" --sort=name --exclude="./${mark##*/}" -cf - . | ask put ||
  ! ask keep </dev/null; then
  echo "$there does not take it. Where VM1's key is not authorised for it: fab ssh.distribute"
  exit 1
fi
