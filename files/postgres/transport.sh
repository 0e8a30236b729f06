# shellcheck shell=bash
: "${etcd:?}" "${patroni:?}" "${pooler:?}" "${unit:?}"
# How etcd, Patroni, PostgreSQL and PgBouncer are set up to speak, a line each: none, clear, both or
# tls. A PgBouncer that is turned off may have left its settings behind.
urls=$(grep -hs '^ETCD_LISTEN_CLIENT_URLS=http' "$etcd")
case $urls in
  *http://*https://* | *https://*http://*) echo both ;;
  *https://*) echo tls ;;
  *http://*) echo clear ;;
  *) echo none ;;
esac
if [[ ! -s $patroni ]]; then
  echo none
elif grep -q '^  verify_client: ' "$patroni"; then
  echo tls
elif grep -q '^  protocol: https$' "$patroni"; then
  echo both
else
  echo clear
fi
if [[ ! -s $patroni ]]; then
  echo none
elif grep -q '^    - hostssl ' "$patroni"; then
  echo tls
elif grep -q '^    ssl_key_file: ' "$patroni"; then
  echo both
else
  echo clear
fi
if [[ ! -s $pooler ]] || ! systemctl is-enabled -q "$unit"; then
  echo none
elif grep -qx 'client_tls_sslmode = require' "$pooler"; then
  echo tls
elif grep -qx 'client_tls_sslmode = allow' "$pooler"; then
  echo both
else
  echo clear
fi
