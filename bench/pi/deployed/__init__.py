"""The ledger on a Pi: a release brought along, deployed in one call, and run as a service."""
