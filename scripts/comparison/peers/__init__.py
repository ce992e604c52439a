"""The servers that this one is compared with, each as small as its own documentation has it.

They run in venvs of their own, where they find this package by `PYTHONPATH`.
"""
