"""The one exception that means: the user can fix this."""


class InputError(ValueError):
    """Bad input. The message names the file, key or image and says what to do about it."""
