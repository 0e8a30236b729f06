# shellcheck shell=bash
: "${path:?}" "${group:?}"
# A private key of P-256, which never leaves this server. A key that is there already stays.
set -euo pipefail
umask 077
if [[ ! -s $path ]]; then
  temp=$(mktemp "$path.XXXXXX")
  trap 'rm -f "$temp"' EXIT
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:named_curve \
    -out "$temp"
  mv -fT "$temp" "$path"
fi
chown "root:$group" "$path"
chmod 0640 "$path"
if selinuxenabled 2>/dev/null; then restorecon "$path"; fi
