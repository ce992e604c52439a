"""`python -m model.process DESCRIPTOR PARENT`, which the main process starts."""

import sys

from model.process.loader import load
from model.process.main import main

main(load, sys.argv[1:])
