"""A permissioned DAG ledger for electricity metering: gateways and servers that can be cut off and merge again."""
