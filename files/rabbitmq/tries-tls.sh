# shellcheck shell=bash
: "${host:?}" "${options:?}"
# Two Erlang nodes on this server, beside RabbitMQ, find each other over TLS. They have the account,
# the cookie, the certificate and the options of RabbitMQ's node, and a port of its command line
# tools.
trial() {
  timeout 120 runuser -u rabbitmq -- env HOME=/var/lib/rabbitmq \
    erl -noinput -hidden -sname "trial-$1@$host" -proto_dist inet_tls \
    -ssl_dist_optfile "$options" -kernel inet_dist_listen_min 35672 inet_dist_listen_max 35682 \
    -eval "$2"
}
cd /
trial first 'timer:sleep(infinity).' &
trial second "
First = list_to_atom(\"trial-first@$host\"),
Found = lists:any(fun(_) -> net_kernel:connect_node(First) orelse timer:sleep(1000) =:= false end,
  lists:seq(1, 20)),
rpc:cast(First, erlang, halt, []),
timer:sleep(200),
halt(case Found of true -> 0; false -> 1 end)." || {
  echo "Erlang does not reach itself over TLS with $options and the files that it names" >&2
  exit 1
}
