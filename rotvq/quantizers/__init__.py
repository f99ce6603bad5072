"""The idea: estimators, lookup, codebook, and the quantisers made of them. Needs torch and numpy alone."""
