"""The ledger of claims: rows, their evidence, and where the chapters name them. `python -m book.ledger --help`."""
