"""`inv drill.*`: faults that the cluster has to survive, caused, timed, healed and reported."""
