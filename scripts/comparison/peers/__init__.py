"""The servers that this one is compared with, each as minimal as in its own documentation.

They run in their own venvs and find this package by `PYTHONPATH`.
"""
