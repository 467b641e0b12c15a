"""A small Django application with sealed models, for the tests of the adapter."""
