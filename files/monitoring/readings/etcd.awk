# The first line is what the member says together with the others.
NR == 1 { say("etcd_healthy", ($0 ~ /"health": *"?true/) + 0) }
