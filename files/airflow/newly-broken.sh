# shellcheck shell=bash
: "${run:?}" "${target:?}" "${broken:?}" "${share:?}" "${seconds:?}"
# Prints the DAGs and plugins that only the installation in use can import: file and error, a line
# each.
: "${in_use:?}"
set -uo pipefail
errors_of() { "$run" "$1/bin/python" -c "$broken" "$seconds" 2>/dev/null; }
if ! "$run" test -e "$share/.nfs-ha"; then
  echo "$share has no .nfs-ha: is the share mounted? See fab nfs.check."
elif ! found=$(errors_of "$target"); then
  echo "$target cannot say what it can import: fab airflow.check"
elif [[ $found ]]; then
  before=$(errors_of "$in_use" | cut -d ' ' -f 1) || :
  while IFS= read -r line; do
    grep -qxF -- "${line%% *}" <<<"$before" || printf '%s\n' "$line"
  done <<<"$found"
fi
