# A line for each tree that is mounted here: whether its files can be read, and its path.
{ say("share_readable", ($1 == "yes") + 0, label("path", $2)) }
