"""The theory chapters as code: every statement of theirs as a law that can be checked."""
