"""`python -m server.serving.decoders DESCRIPTOR PARENT`, which the main process starts."""

import sys

from server.serving.decoders.jobs import JOBS
from server.serving.decoders.worker import main

main(JOBS, sys.argv[1:])
