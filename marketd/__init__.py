"""marketd: a self-hosted backend for a marketplace of digital goods."""

__version__ = "0.1.0"
