"""Builds the container image from recorded Debian packages, recorded wheels and the project's own wheel.

Run as `python -m deploy.image`; no container engine and no root is needed. What comes out depends on the records beside
this file, the project's wheel, the commit and `SOURCE_DATE_EPOCH` alone: byte code and compressed layers are made by
the recorded Python, not by the one that runs this.
"""
