"""The imperative shell: one job a file. It feeds commands to the pure core and carries out what the core decides."""
