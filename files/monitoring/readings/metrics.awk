# What all readings use: say(NAME, VALUE[, LABELS]) prints a metric, label(NAME, TEXT) is a label.
# What a service says is data: a value that is no number is left out, and no text ends its quotes.
function label(name, text, quoted, place, one) {
  gsub(/[^ -~]/, "?", text)
  for (place = 1; place <= length(text); place++) {
    one = substr(text, place, 1)
    quoted = quoted (one == "\\" || one == "\"" ? "\\" : "") one
  }
  return name "=\"" quoted "\""
}
function say(name, value, labels) {
  if (value ~ /^-?[0-9]+([.][0-9]+)?$/)
    print "runbook_" name (labels == "" ? "" : "{" labels "}"), value
}
function rest(from, text, place) { # the words of this line from this one on
  for (place = from; place <= NF; place++) text = text (place > from ? " " : "") $place
  return text
}
