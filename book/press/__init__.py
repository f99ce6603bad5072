"""From notebooks to pages: pair, execute, build. `python -m book.press --help`."""
