# shellcheck shell=bash
: "${rescued:?}" "${trees:?}"
# Prints what a server had to give up and nobody else has, or what is newer than what clients see.
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
