"""The errors of the lab: one sentence for the user."""


class LabError(Exception):
    """Its text is the sentence the user reads; `exit_code` ends the command."""

    def __init__(self, sentence: str, exit_code: int = 1) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code
