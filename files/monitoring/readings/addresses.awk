# A line for each VIP that this server may hold: its name, and whether it does.
{ say("vip_held", ($2 == "held") + 0, label("vip", $1)) }
