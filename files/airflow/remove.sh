# shellcheck shell=bash
: "${folder:?}"
# An installation goes at once: what is left of an interrupted removal has a name that nothing uses.
set -euo pipefail
apart=${folder%/*}/.removed-${folder##*/}
rm -rf "$apart"
if [[ -e $folder ]]; then mv -T "$folder" "$apart"; fi
rm -rf "$apart" "$folder.lock"
