"""What sections are declared with: steps, probes, facts, tasks."""
