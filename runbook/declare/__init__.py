"""What a section declares with: steps, probes, facts, tasks."""
