"""What carries the sections: inventory, steps, scripts, connections and reports."""
