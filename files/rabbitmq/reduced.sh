# shellcheck shell=bash
: "${lost:?}"
# The cluster is this node alone. A queue that a client declares while lost nodes are still counted
# would get replicas on these, and never have a majority: clients wait until they are forgotten.
trap 'rabbitmqctl resume_listeners' EXIT
rabbitmqctl suspend_listeners
rabbitmqctl close_all_connections --global 'the cluster is reduced to this node'
# Reduce quorum queues to this node's replica (RabbitMQ 3.12.1 and later), all at the same time, as
# each takes five seconds. What cannot go on is deleted: queues without a replica here, which no
# client could declare again otherwise, and, with an older RabbitMQ, those that still count lost
# nodes, which have no majority. `list_queues` would not name queues whose leader was on a lost
# node.
rabbitmqctl -q eval '
CanShrink = erlang:function_exported(rabbit_quorum_queue, force_shrink_member_to_current_member, 2),
Shrink = fun(Vhost, Name) ->
  spawn_monitor(rabbit_quorum_queue, force_shrink_member_to_current_member, [Vhost, Name])
end,
Shrinking = lists:filtermap(fun(Q) ->
  {resource, Vhost, queue, Name} = Resource = amqqueue:get_name(Q),
  HasReplica = erlang:whereis(element(1, amqqueue:get_pid(Q))) =/= undefined,
  case {HasReplica, CanShrink} of
    {true, true} -> {true, Shrink(Vhost, Name)};
    {false, true} -> rabbit_amqqueue:internal_delete(Q, <<"recover">>), false;
    {false, false} -> rabbit_amqqueue:internal_delete(Resource, <<"recover">>), false;
    {true, false} ->
      case amqqueue:get_type_state(Q) of
        #{nodes := [Only]} when Only =:= node() -> ok;
        _ -> io:format("~ts\t~ts~n", [Vhost, Name])
      end,
      false
  end
end, rabbit_amqqueue:list_by_type(rabbit_quorum_queue)),
lists:foreach(fun({Pid, Monitor}) ->
  receive {_, Monitor, process, Pid, normal} -> ok; {_, Monitor, process, Pid, Why} -> exit(Why) end
end, Shrinking).' |
  while IFS=$'\t' read -r vhost queue; do
    [[ ! $queue ]] || rabbitmqctl delete_queue -p "$vhost" "$queue" </dev/null
  done
# With Khepri, the metadata store counts this node only since it started alone. What forgetting a
# node does for the classic queues that were on it alone is done here: no client could declare them
# again otherwise.
for node in $lost; do
  if [[ $(rabbitmqctl -q cluster_status --formatter json) == *"\"$node\""* ]]; then
    rabbitmqctl forget_cluster_node "$node"
  else
    rabbitmqctl -q eval "
[rabbit_amqqueue:internal_delete(Q, <<\"recover\">>)
 || Q <- rabbit_amqqueue:list_by_type(rabbit_classic_queue), amqqueue:qnode(Q) =:= '$node']."
  fi
done
