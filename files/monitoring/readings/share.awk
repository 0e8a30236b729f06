$1 == "fit" { fit = 1 }
$1 == "copying" { say("share_copying", ($2 == "active") + 0) }
$1 == "rescued" { rescued++ }
$1 == "compared" { now = $2 }
$1 == "lacks" {
  lacks++
  if (now - $2 > oldest) oldest = now - $2
}
END {
  say("share_fit", fit + 0)
  say("share_rescued_files", rescued + 0)
  if (now) {
    say("share_lacking_files", lacks + 0)
    say("share_lacking_seconds", oldest + 0)
  }
}
