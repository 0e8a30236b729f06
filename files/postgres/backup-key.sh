# shellcheck shell=bash
: "${folder:?}" "${name:?}"
# The folder is one of the user postgres, which does all of the work there.
set -euo pipefail
umask 077
by_postgres=(runuser -u postgres --)
trap '"${by_postgres[@]}" rm -f "$folder/request.cnf"' EXIT
"${by_postgres[@]}" tee "$folder/request.cnf" >/dev/null <<EOF
[req]
distinguished_name = name
x509_extensions = extensions
prompt = no
[name]
CN = $name
[extensions]
basicConstraints = critical, CA:false
subjectAltName = DNS:$name
EOF
"${by_postgres[@]}" openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 7300 \
  -keyout "$folder/host.key" -out "$folder/host.crt" -config "$folder/request.cnf"
