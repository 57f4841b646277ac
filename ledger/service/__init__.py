"""What gateways and servers run: the ledger's state machines between radio, network, clock and disk."""
