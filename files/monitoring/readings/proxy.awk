# The version, the state of keepalived, whether it is sent away, and HAProxy's statistics as CSV.
NR == 2 { say("keepalived_runs", ($1 == "active") + 0) }
NR == 3 { say("proxy_away", ($1 == "away") + 0) }
NR < 4 { next }
/^# / {
  count = split(substr($0, 3), names, ",")
  for (place = 1; place <= count; place++) column[names[place]] = place
  next
}
split($0, field, ",") > 1 {
  answers = 1
  backend = field[column["pxname"]]
  server = field[column["svname"]]
  if (server == "FRONTEND") {
    if (backend != "health" && backend != "stats") sessions += field[column["scur"]]
  } else if (server != "BACKEND") {
    sub(/:.*/, "", server)
    named = label("backend", backend) "," label("server", server)
    # While a server has two entries, one of them is up.
    if (!up[named]) up[named] = field[column["status"]] ~ /^UP/ ? 1 : 0
  }
}
END {
  say("proxy_answers", answers + 0)
  if (answers) say("proxy_sessions", sessions + 0)
  for (named in up) say("proxy_server_up", up[named], named)
}
