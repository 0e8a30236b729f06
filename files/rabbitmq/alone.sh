# shellcheck shell=bash
: "${data:?}" "${node:?}"
# Start a node without its peers: with Mnesia by the file that `rabbitmqctl force_boot` writes, with
# Khepri (RabbitMQ 4) by reducing the metadata store to this node while it starts.
systemctl stop rabbitmq-server
runuser -u rabbitmq -- cp -a "$data" "$data.before-$(date +%Y%m%d-%H%M%S)"
if ! grep -qs khepri_db "$data/$node-feature_flags"; then
  runuser -u rabbitmq -- touch "$data/$node/force_load"
  systemctl enable --now rabbitmq-server
else
  systemctl enable rabbitmq-server
  systemctl start --no-block rabbitmq-server
  for _ in {1..60}; do
    if rabbitmqctl force_standalone_khepri_boot; then break; fi
    sleep 2
  done
fi
rabbitmqctl await_startup --timeout 300
until rabbitmq-diagnostics -q check_running; do sleep 1; done
