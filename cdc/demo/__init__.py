"""The demo: a sample application, replicated while it works."""
