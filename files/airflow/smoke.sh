# shellcheck shell=bash
: "${cli:?}" "${sql:?}" "${login:?}" "${task:?}" "${says:?}"
# The function ask_web_ui PATH OPTION… is the caller's.
run=smoke-$(date +%s)
told=$("$cli" dags trigger smoke --run-id "$run" 2>&1) || {
  tail -n 1 <<<"$told"
  exit 1
}
for _ in {1..180}; do
  state=$("$sql" "select state from dag_run where run_id = '$run'")
  [[ $state != success && $state != failed ]] || break
  sleep 1
done
"$sql" "select task_id, state, hostname, round(extract(epoch from end_date - start_date)::numeric, 1)
        from task_instance where run_id = '$run' order by start_date"
log=$(ask_web_ui "/api/v1/dags/smoke/dagRuns/$run/taskInstances/$task/logs/1?full_content=true" \
  -K <(printf '%s\n' "$login"))
grep -o "$says [a-z0-9.-]*" <<<"$log" | tail -1
[[ $state == success && $log == *"$says"* ]]
