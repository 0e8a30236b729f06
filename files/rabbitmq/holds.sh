# shellcheck shell=bash
# What this node's own replicas hold; asking them needs no majority.
rabbitmqctl -q eval '
lists:foreach(fun(Q) ->
  {resource, Vhost, queue, Name} = amqqueue:get_name(Q),
  {Ra, _} = amqqueue:get_pid(Q),
  Held = case catch ra:local_query({Ra, node()}, fun rabbit_fifo:query_messages_total/1) of
    {ok, {_, Count}, _} -> io_lib:format("~b messages", [Count]);
    _ -> "no replica on this node"
  end,
  io:format("quorum queue ~ts in vhost ~ts: ~ts~n", [Name, Vhost, Held])
end, rabbit_amqqueue:list_by_type(rabbit_quorum_queue)).' |
  grep -v '^ok$' || echo 'no quorum queues'
rabbitmqctl -q list_vhosts --silent | while read -r vhost; do
  rabbitmqctl -q list_queues -p "$vhost" --silent name type state messages </dev/null |
    awk -F'\t' -v vhost="$vhost" '$2 ~ /classic/ && $3 != "down" {
      print "classic queue " $1 " in vhost " vhost ": " $4 " messages" }'
done
# With Khepri, the list above leaves these out.
rabbitmqctl -q eval '
lists:foreach(fun(Q) ->
  {resource, Vhost, queue, Name} = amqqueue:get_name(Q),
  case lists:member(amqqueue:qnode(Q), [node() | nodes()]) of
    true -> ok;
    false -> io:format("classic queue ~ts in vhost ~ts: on a lost node~n", [Name, Vhost])
  end
end, rabbit_amqqueue:list_by_type(rabbit_classic_queue)).' | { grep -v '^ok$' || :; }
