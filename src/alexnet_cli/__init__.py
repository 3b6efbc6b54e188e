"""AlexNet from download to prediction: a command line and a small Python library."""

__version__ = "0.1.0"
