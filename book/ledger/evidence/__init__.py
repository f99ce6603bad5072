"""Evidence for the ledger of claims: one small function for each thing that can be computed."""
