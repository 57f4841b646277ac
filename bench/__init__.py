"""The DAG bench: everything around the ledger under test."""
