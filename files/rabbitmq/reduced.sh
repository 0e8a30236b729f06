# shellcheck shell=bash
: "${lost:?}"
# The cluster is this node alone. A queue that a client declares while lost nodes are still counted
# would get replicas on these, and never have a majority: clients wait until they are forgotten.
trap 'rabbitmqctl resume_listeners' EXIT
rabbitmqctl suspend_listeners
rabbitmqctl close_all_connections --global 'the cluster is reduced to this node'
# Reduce quorum queues to this node's replica (RabbitMQ 3.12.1 and later). What cannot go on is
# deleted: queues without a replica here, which no client could declare again otherwise, and, with
# an older RabbitMQ, those that still count lost nodes, which have no majority. `list_queues` would
# not name queues whose leader was on a lost node.
rabbitmqctl -q eval '
CanShrink = erlang:function_exported(rabbit_quorum_queue, force_shrink_member_to_current_member, 2),
lists:foreach(fun(Q) ->
  {resource, Vhost, queue, Name} = Resource = amqqueue:get_name(Q),
  HasReplica = erlang:whereis(element(1, amqqueue:get_pid(Q))) =/= undefined,
  case {HasReplica, CanShrink} of
    {true, true} -> rabbit_quorum_queue:force_shrink_member_to_current_member(Vhost, Name);
    {false, true} -> rabbit_amqqueue:internal_delete(Q, <<"recover">>);
    {false, false} -> rabbit_amqqueue:internal_delete(Resource, <<"recover">>);
    {true, false} ->
      case amqqueue:get_type_state(Q) of
        #{nodes := [Only]} when Only =:= node() -> ok;
        _ -> io:format("~ts\t~ts~n", [Vhost, Name])
      end
  end
end, rabbit_amqqueue:list_by_type(rabbit_quorum_queue)).' |
  while IFS=$'\t' read -r vhost queue; do
    [[ ! $queue ]] || rabbitmqctl delete_queue -p "$vhost" "$queue" </dev/null
  done
for node in $lost; do rabbitmqctl forget_cluster_node "$node"; done
