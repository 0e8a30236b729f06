# shellcheck shell=bash
: "${folder:?}" "${programs:?}" "${name:?}"
# The folder is in one of the user postgres, which does all of the work there.
set -euo pipefail
by_postgres=(runuser -u postgres --)
file=$folder/$name-$(date +%Y%m%d-%H%M%S).dump
trap '"${by_postgres[@]}" rm -f "$file.part"' EXIT
"${by_postgres[@]}" mkdir -p -m 0700 "$folder"
"${by_postgres[@]}" "$programs/pg_dump" -Fc -d airflow -f "$file.part"
"${by_postgres[@]}" "$programs/pg_restore" --list "$file.part" >/dev/null
"${by_postgres[@]}" chmod 0600 "$file.part"
"${by_postgres[@]}" sync "$file.part"
"${by_postgres[@]}" mv -T "$file.part" "$file"
"${by_postgres[@]}" ls -l "$file"
