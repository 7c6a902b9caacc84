"""`python -m deploy.demonstration`."""

import sys

from deploy.demonstration.command_line import main

sys.exit(main(sys.argv[1:]))
