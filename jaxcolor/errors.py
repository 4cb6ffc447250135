"""The errors that are a user's to mend: printed as one line, never as a traceback."""


class UserError(Exception):
    """What was wrong, where, and what to do, in one line."""


class ConfigError(UserError):
    """A config key or value that cannot work."""


class DataError(UserError):
    """A directory or picture that cannot be used; the message names its path."""


class WorkdirError(UserError):
    """A workdir that cannot be written, is in use, or does not fit the config."""


class TrainingError(UserError):
    """Training went wrong: a loss that is not finite."""


class HostError(UserError):
    """Hosts that train together did not meet, or lost one another."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error of Python's or XLA's says that the memory does not suffice."""
    signs = ("resource_exhausted", "out of memory")
    return isinstance(error, MemoryError) or any(sign in str(error).lower() for sign in signs)
