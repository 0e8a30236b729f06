#!/bin/bash
: "${folder:?}"
# Prints one word, which is another one when a file below the folder has come or gone, or has other
# content, another mode or owner. Bytecode comes and goes; the mark says what the word should be.
# With bytecode=yes, it prints a second word, about the bytecode alone.
cd "$folder" || exit
word() { LC_ALL=C sort | sha256sum | cut -c -32; }
ignored=('(' -name __pycache__ -o -name '*.pyc' -o -path ./.airflow-runbook ')' -prune)
{
  find . "${ignored[@]}" -o -printf '%P %y %m %U:%G %l\n'
  find . "${ignored[@]}" -o -type f -print0 | xargs -0 -r sha256sum
} | word
if [[ ${bytecode-} == yes ]]; then
  compiled=('(' -name __pycache__ -o -path '*/__pycache__/*' -o -name '*.pyc' -o -path '*.pyc/*' ')')
  {
    find . "${compiled[@]}" -printf '%P %y %m %U:%G %l\n'
    find . "${compiled[@]}" -type f -print0 | xargs -0 -r sha256sum
  } | word
fi
