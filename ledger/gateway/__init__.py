"""What a Pi does between its radio and its node: opens, stores, acknowledges and batches frames."""
