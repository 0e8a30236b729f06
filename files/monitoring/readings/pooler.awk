# The state of PgBouncer's unit, then `show pools` as CSV if it answers.
NR == 1 {
  runs = $1 == "active"
  next
}
split($0, field, ",") > 1 {
  if (!answers++) {
    for (place in field) column[field[place]] = place
  } else if (field[column["database"]] == "airflow" && field[column["user"]] == "airflow") {
    say("pooler_wait_seconds", field[column["maxwait"]])
  }
}
END { say("pooler_answers", (runs && answers) + 0) }
