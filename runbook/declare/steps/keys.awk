BEGIN {
  begin = ENVIRON["begin"]; end = ENVIRON["end"]; former = ENVIRON["former"]
  count = split(ENVIRON["lines"], line, "\n")
  listed(ENVIRON["own"], own); listed(ENVIRON["kept"], kept); listed(ENVIRON["never"], never)
}
function listed(text, into,   word, n, i) { n = split(text, word, " "); for (i = 1; i <= n; i++) into[word[i]] }
function has(keys,   i) { for (i = 1; i <= NF; i++) if ($i in keys) return 1; return 0 }
# Outside of the block: what an earlier version has written, and other lines for the same keys.
function ours() { return !has(never) && (has(own) || (former != "" && $0 ~ former)) }
$0 == begin { for (i = 0; i < held; i++) print hold[i]; held = 0; inside = 1; next }
inside && $0 == end {
  for (i = 0; i < held; i++) { n = split(hold[i], word, " "); if (word[n] in kept) stay[stays++] = hold[i] }
  inside = held = 0
  next
}
inside { hold[held++] = $0; next }
!ours() { print }
END {
  for (i = 0; i < held; i++) print hold[i]
  if (!count && !stays) exit
  print begin
  for (i = 1; i <= count; i++) print line[i]
  for (i = 0; i < stays; i++) print stay[i]
  print end
}
