"""One run: a Config, its data and model, and the story of its training."""
