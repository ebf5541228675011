"""The one ancestor of every room's exception family."""


class Incv3dError(Exception):
    """A failure whose message is made for the person who reads it: what, where, what to do.

    Each room derives its own family from this class. The command line prints the message as one line
    and ends with :attr:`exit_status`.
    """

    exit_status = 1

    @property
    def lines(self) -> list[str]:
        """What is printed, each for a line of its own."""
        return [str(self)]

    is_lasting = False
    """Whether only a person can remove the cause. A daemon that cannot start for such a reason ends with
    status 2, and systemd does not start it again."""
