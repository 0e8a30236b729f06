# A line for each certificate: when it expires, in seconds since 1970, and whose it is.
NF == 2 { say("certificate_expires_seconds", $1, label("name", $2)) }
