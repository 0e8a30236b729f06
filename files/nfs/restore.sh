# shellcheck shell=bash
: "${archive:?}" "${tree:?}" "${path:?}" "${rescued:?}" "${user:?}"
# Bring back what a snapshot has at a path of the tree, as airflow. What is different there now is
# kept among the rescued files; what the snapshot does not have stays where it is.
set -euo pipefail
as_user() { runuser -u "$user" -- "$@"; }
staging=$rescued/.restoring kept=$rescued/$(date +%Y%m%d-%H%M%S)-before-restore
as_user rm -rf "$staging"
as_user mkdir -p "$staging"
trap 'as_user rm -rf "$staging"' EXIT
gzip -dc "$archive" | as_user tar --extract --directory="$staging" --no-same-owner ${path:+"./$path"}
as_user rsync --recursive --links --perms --times --omit-dir-times --checksum --relative \
  --backup --backup-dir="$kept/${tree##*/}" --out-format='%i %n' "$staging/./$path" "$tree/"
