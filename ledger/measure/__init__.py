"""What the ledger's own code costs on the machine it runs on: ``python -m ledger.measure --json``.

It comes with the ledger and needs nothing else, so that a gateway measures itself. The figures are CPU time
of one core; waiting for the card is counted in writes, not timed. :mod:`bench.calibration` makes a
calibration file of it.
"""
