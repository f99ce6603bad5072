"""The ledger of claims: rows, their evidence, the page, and the command. `python -m book.ledger --help`."""
