# shellcheck shell=bash
: "${user:?}" "${scripts:?}" "${state:?}" "${run:?}" "${sync:?}" "${address:?}" "${rescued:?}"
[[ -e $state/generation ]] || exit
as_user() { runuser -u "$user" -- "$@"; }
echo "generation $(as_user "$scripts/state" get generation)"
echo "led $(as_user "$scripts/state" get active)"
[[ ! -e $run/fit ]] || echo "fit yes"
echo "copying $(systemctl is-active "$sync")"
exportfs -s | sed 's/^/export /'
if [[ $(ip -o -4 addr show to "$address") ]] &&
  lacks=$(as_user timeout 60 "$scripts/push" --show 2>/dev/null); then
  echo "compared $(date +%s)"
  [[ ! $lacks ]] || while read -r _ path; do
    echo "lacks $(as_user stat -c %Z "$path" 2>/dev/null || date +%s) $path"
  done <<<"$lacks"
fi
as_user bash -c "$rescued"
