# shellcheck shell=bash
: "${service:?}"
# A running node drops what it has read of certificates and CAs, for its clients and for other nodes
# (Erlang names no function for the latter). A node whose certificate has expired is reached by
# rabbitmqctl only after it has read the new one, which it does every two minutes by itself.
forget='ssl:clear_pem_cache(), catch
  gen_server:call(ssl_pem_cache_dist, {unconditionally_clear_pem_cache, self()}, infinity).'
for _ in {1..20}; do
  if ! systemctl is-active -q "$service" || rabbitmqctl -q eval "$forget"; then exit 0; fi
  sleep 5
done
exit 1
