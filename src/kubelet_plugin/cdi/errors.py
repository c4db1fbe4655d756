"""The root of this library's errors."""


class Error(Exception):
    """Something that the Container Device Interface does not allow, or that could not be read or written.

    The message is for people: it names what is wrong, the rule, and, where there is one, the way out.
    """
