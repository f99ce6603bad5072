"""What a step and a run cost, against other implementations and against a floor."""
