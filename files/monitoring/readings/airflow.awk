# What Airflow's database says; the replicas repeat what the leader says.
$1 == "leader" {
  leader = $2 == "true"
  say("airflow_leader", leader + 0)
}
!leader { next }
$1 == "age" { say("airflow_heartbeat_seconds", $4, label("kind", $2) "," label("server", $3)) }
$1 == "broken" { say("airflow_broken_dags", $2) }
$1 == "queued" { say("airflow_tasks_waiting", $2) }
$1 == "running" { say("airflow_tasks_running", $2) }
$1 == "waited" { say("airflow_lock_wait_seconds", $2) }
