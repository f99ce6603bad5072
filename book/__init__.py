"""The book: its pages, and the code that only they need. Found in a checkout, never installed."""
