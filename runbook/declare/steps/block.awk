BEGIN {
  block = ENVIRON["block"]; begin = ENVIRON["begin"]; end = ENVIRON["end"]
  count = split(ENVIRON["owns"], word, " ")
  for (i = 1; i <= count; i++) owned[word[i]] = 1
}
function release(   i) { for (i = 0; i < held; i++) keep(hold[i]); held = 0 }
function keep(text,   field, n, i, left, dropped) {
  if (text ~ /^[ \t]*(#|$)/) { print text; return }
  n = split(text, field, /[ \t]+/)
  left = field[1]
  for (i = 2; i <= n; i++) {
    if (field[i] ~ /^#/) break
    if (field[i] in owned) { dropped = 1; continue }
    left = left " " field[i]
  }
  if (!dropped) print text
  else if (left != field[1]) print left
}
$0 == begin { release(); inside = 1; next }
inside && $0 == end { inside = held = 0; if (!placed++) print block; next }
inside { hold[held++] = $0; next }
{ keep($0) }
END {
  release()
  if (!placed) print block
}
