# shellcheck shell=bash
# Reduce quorum queues to this node's replica (RabbitMQ 3.12.1 and later). What cannot go on is
# deleted: queues without a replica here, which no client could declare again otherwise, and, with
# an older RabbitMQ, those that still count lost nodes, which have no majority.
here=$(rabbitmqctl -q eval 'node().' | tr -d \')
rabbitmqctl -q eval '
CanShrink = erlang:function_exported(rabbit_quorum_queue, force_shrink_member_to_current_member, 2),
lists:foreach(fun(Q) ->
  {resource, Vhost, queue, Name} = Resource = amqqueue:get_name(Q),
  HasReplica = erlang:whereis(element(1, amqqueue:get_pid(Q))) =/= undefined,
  case {HasReplica, CanShrink} of
    {true, true} -> rabbit_quorum_queue:force_shrink_member_to_current_member(Vhost, Name);
    {false, true} -> rabbit_amqqueue:internal_delete(Q, <<"recover">>);
    {false, false} -> rabbit_amqqueue:internal_delete(Resource, <<"recover">>);
    {true, false} -> ok
  end
end, rabbit_amqqueue:list_by_type(rabbit_quorum_queue)).'
rabbitmqctl -q list_vhosts --silent | while read -r vhost; do
  rabbitmqctl -q list_queues -p "$vhost" --silent name type members </dev/null |
    awk -F'\t' -v here="[$here]" '$2 == "quorum" && $3 != here { print $1 }' |
    while read -r queue; do rabbitmqctl delete_queue -p "$vhost" "$queue" </dev/null; done
done
