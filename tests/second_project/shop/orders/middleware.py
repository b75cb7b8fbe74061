import dramatiq


class Counting(dramatiq.Middleware):
    """The shop's own middleware."""
