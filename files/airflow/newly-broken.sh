# shellcheck shell=bash
: "${run:?}" "${target:?}" "${in_use:?}" "${broken:?}" "${share:?}" "${seconds:?}"
# Prints the DAGs that only the installation in use can import: file and error, a line each.
set -uo pipefail
errors_of() { "$run" "$1/bin/python" -c "$broken" "$share" "$seconds" 2>/dev/null; }
if ! found=$(errors_of "$target"); then
  echo "$target cannot say which DAGs it can import: fab airflow.check"
elif [[ $found ]]; then
  before=$(errors_of "$(readlink -e "$in_use")" | cut -d ' ' -f 1) || :
  while IFS= read -r line; do
    grep -qxF -- "${line%% *}" <<<"$before" || printf '%s\n' "$line"
  done <<<"$found"
fi
