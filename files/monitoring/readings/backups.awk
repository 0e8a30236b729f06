# `pgbackrest info` after the time: of each type, the newest backup that did not fail.
NR > 1 { info = info $0 }
END {
  entry = "\"timestamp\":[{]\"start\":[0-9]+,\"stop\":[0-9]+[}],\"type\":\"[a-z]+\""
  while (match(info, entry)) {
    before = substr(info, 1, RSTART - 1)
    split(substr(info, RSTART, RLENGTH), part, /[^0-9a-z]+/) # "", timestamp, start, N, stop, N …
    info = substr(info, RSTART + RLENGTH)
    if (before !~ /"error":true/ && part[6] + 0 > finished[part[8]] + 0) {
      began[part[8]] = part[4]
      finished[part[8]] = part[6]
    }
  }
  for (type in finished) {
    say("backup_started_seconds", began[type], label("type", type))
    say("backup_finished_seconds", finished[type], label("type", type))
  }
}
