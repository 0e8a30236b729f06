$1 == "waiting" {
  say("wal_waiting_files", $2)
  say("wal_waiting_seconds", $3)
}
$1 == "archiving" { say("wal_archiving", ($2 == "works") + 0) }
$1 == "dropped" { say("wal_dropped_seconds", $2) }
$1 == "connections" {
  say("database_connections", $2)
  say("database_connections_allowed", $3)
}
$1 == "corrupt" { say("database_damaged_pages", $2) }
$1 == "age" {
  say("database_oldest_row", $2)
  say("database_freezes_at", $3)
}
$1 == "snapshot" { say("etcd_copied_seconds", $2) }
$1 == "verified" {
  say("restore_succeeded", ($2 == "ok") + 0)
  say("restore_tried_seconds", $3)
}
