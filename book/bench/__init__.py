"""What a step and a run cost, beside other implementations and a floor (``python -m book.bench --help``)."""
