# shellcheck shell=bash
: "${version:?}" "${target:?}" "${mark:?}" "${made_from:?}" "${fingerprint:?}"
: "${index:?}" "${trusted:?}" "${netrc:?}"
: "${python:?}" "${python_version:?}" "${python_mark:?}" "${python_made_from:?}"
: "${opt:?}" "${tools:?}" "${cache:?}"
set -euo pipefail
umask 022
read -ra index <<<"$index"
read -ra trusted <<<"$trusted"
if [[ $(cat "$python_mark" 2>/dev/null) != "$python_made_from "* ]]; then
  echo "Python $python_version is not installed: fab python-build"
  exit 1
fi
before=$opt/.before-$version
unset NETRC
if [[ -e $before ]]; then
  rm -rf "$target" # an earlier run was cut off
elif [[ -e $target ]]; then
  mv "$target" "$before"
fi
undo() {
  if (($1)); then
    rm -rf "$target"
    if [[ -e $before ]]; then mv "$before" "$target"; fi
    echo 'The packages could not be installed. The former installation was restored.'
    echo 'Packages come from sources.pypi in hosts.yaml: an index, or a wheelhouse.'
  fi
  rm -rf "$tools" "$cache" "$before" "${NETRC:-$cache}"
}
trap 'undo $?' EXIT
rm -rf "$tools"
if [[ $netrc ]]; then
  NETRC=$(mktemp)
  export NETRC # pip and uv read it
  printf '%s\n' "$netrc" >"$NETRC"
fi
"$python" -m venv "$tools"
"$tools/bin/pip" install -q --disable-pip-version-check --no-deps --require-hashes \
  "${index[@]}" "${trusted[@]}" -r "$opt/build-tools.lock"
export UV_CACHE_DIR=$cache UV_LINK_MODE=copy UV_NO_PROGRESS=1 VIRTUAL_ENV=$target
uv=$tools/bin/uv
"$uv" venv -q --python "$python" "$target"
"$uv" pip install -q --no-deps --require-hashes "${index[@]}" -r "$opt/build-tools.lock"
"$uv" pip install -q --no-deps --require-hashes --no-build-isolation --compile-bytecode \
  "${index[@]}" -r "$opt/$version.lock"
"$uv" pip uninstall -q uv wheel poetry-core
"$uv" pip check
rm -f "$target/.lock" # uv's, which anybody may write
fingerprint=$(bash -c "$fingerprint")
echo "$made_from $fingerprint" >"$mark"
