"""What can go wrong when an image is built or pushed; the message is for the person who asked for it."""


class ImageError(Exception):
    """It could not be done: what, why, and what to do about it."""
