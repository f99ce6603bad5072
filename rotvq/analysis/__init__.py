"""Records compared: statistics, studies of paired runs, and their wording."""
