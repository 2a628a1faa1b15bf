"""Ending without losing a request: first nothing new is asked for, then nothing new is taken."""


class Drain:
    """Whether the server is ending, and how many requests it failed.

    Used in the event loop's thread alone.
    """

    def __init__(self) -> None:
        self.begun = False
        self.cut_off = 0
