"""Many runs: which there are, where they run, and the record of each."""
