# For each unit: its name, its role, whether it may be stopped here, and its state.
$1 == "unit" {
  labels = label("unit", $2) "," label("role", $3)
  may_stop = $4 == "follows"
}
sub(/^SubState=/, "") {
  say("unit_runs", ($0 == "running" || may_stop && $0 == "dead") + 0, labels)
}
