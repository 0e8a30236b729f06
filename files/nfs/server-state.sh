# shellcheck shell=bash
: "${user:?}" "${scripts:?}" "${state:?}" "${run:?}" "${sync:?}"
: "${address:?}" "${trees:?}" "${rescued:?}"
[[ -e $state/generation ]] || exit
echo "generation $(runuser -u "$user" -- "$scripts/state" get generation)"
echo "led $(runuser -u "$user" -- "$scripts/state" get active)"
[[ ! -e $run/fit ]] || echo "fit yes"
echo "copying $(systemctl is-active "$sync")"
exportfs -s | sed 's/^/export /'
if [[ $(ip -o -4 addr show to "$address") ]] &&
  lacks=$(timeout 60 runuser -u "$user" -- "$scripts/push" --show 2>/dev/null); then
  echo "compared $(date +%s)"
  [[ ! $lacks ]] || while read -r _ path; do
    echo "lacks $(stat -c %Z "$path" 2>/dev/null || date +%s) $path"
  done <<<"$lacks"
fi
cd "$rescued" || exit 0
find . -type f -printf '%P\0' | while IFS= read -rd '' path; do
  place=${path#*/}
  for tree in $trees; do
    current=$tree/${place#*/}
    if [[ ${tree##*/} == "${place%%/*}" && (! -e $current || $path -nt $current) ]]; then
      echo "rescued ${path//$'\n'/\\n}"
    fi
  done
done
