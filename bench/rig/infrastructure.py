"""Failures of the infrastructure, told apart from failures of the system under test.

A cable, host, port, instrument or VPN that fails says nothing about the ledger: such a failure is retried
where that helps, every retry stands in the report, and no verdict is drawn from it.
"""


class InfrastructureError(RuntimeError):
    """Something around the system under test failed: which seat, what was found, and the mend.

    `retry_helps` says whether trying again, from a known state, may go better.
    """

    def __init__(self, seat: str, what: str, mend: str, *, retry_helps: bool = False) -> None:
        super().__init__(seat, what, mend, retry_helps)
        self.seat = seat
        self.what = what
        self.mend = mend
        self.retry_helps = retry_helps

    def __str__(self) -> str:
        """One sentence for a person."""
        return f"{self.seat}: {self.what}; {self.mend}"
