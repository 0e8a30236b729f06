$1 == "memory" && $2 > 0 { say("memory_left_percent", int(100 * $3 / $2 + 0.5)) }
$1 == "disk" {
  used = $2 + 0 > $3 + 0 ? $2 + 0 : $3 + 0
  say("disk_used_percent", used, label("path", rest(4)))
}
$1 == "clock" { say("clock_synchronised", ($2 == "Normal") + 0) }
$1 == "failed" { say("unit_failed", 1, label("unit", $2)) }
$1 == "reboot" { say("reboot_due", 1, label("why", rest(2))) }
