"""A permissioned DAG ledger for electricity metering: its nodes may be cut off for long and merge again."""
