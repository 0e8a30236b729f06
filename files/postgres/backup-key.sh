# shellcheck shell=bash
: "${folder:?}" "${name:?}"
set -euo pipefail
umask 077
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 7300 \
  -keyout "$folder/host.key" -out "$folder/host.crt" -config /dev/stdin <<EOF
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
chown postgres:postgres "$folder/host.key" "$folder/host.crt"
