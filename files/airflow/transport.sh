# shellcheck shell=bash
: "${cfg:?}"
# How Airflow is set up to reach the others, a line each: none, clear or tls.
says() { # KEY PATTERN: whether the setting looks so
  local line
  line=$(grep -hs "^$1 = " "$cfg") || { echo none; return; }
  if [[ $line == *$2* ]]; then echo tls; else echo clear; fi
}
says sql_alchemy_conn sslmode=verify-full
says broker_url ' amqps:'
says base_url ' https:'
