BEGIN {
  block = ENVIRON["block"]; begin = ENVIRON["begin"]; end = ENVIRON["end"]
  count = split(ENVIRON["owns"], word, " ")
  for (i = 1; i <= count; i++) owned[tolower(word[i])] = 1
}
function release(   i) { for (i = 0; i < held; i++) keep(hold[i]); held = 0 }
# As glibc reads /etc/hosts: # begins a comment anywhere, \r is a space, capitals do not count.
function keep(text,   names, field, n, i, left, dropped) {
  names = text
  sub(/#.*/, "", names)
  gsub(/[\r\v\f]/, " ", names)
  n = split(names, field, " ")
  left = field[1]
  for (i = 2; i <= n; i++) {
    if (tolower(field[i]) in owned) { dropped = 1; continue }
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
