# shellcheck shell=bash
: "${folder:?}"
# Prints a digest of the DAGs' content, and the seconds since anything in the folder has changed.
# Bytecode and hidden files are no DAGs; times differ from server to server, and say nothing.
cd "$folder" || exit
ignored=('(' -name '.?*' -o -name __pycache__ -o -name '*.pyc' ')' -prune)
digest=$(timeout 20 find . "${ignored[@]}" -o -type f -print0 | LC_ALL=C sort -z |
  xargs -0 -r sha256sum | sha256sum)
changed=$(timeout 20 find . "${ignored[@]}" -o -printf '%C@\n' | sort -n | tail -n 1)
age=$(($(date +%s) - ${changed%.*}))
echo "${digest%% *} $((age > 0 ? age : 0))"
