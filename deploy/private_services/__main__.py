"""`python -m deploy.private_services`; people run it as `deploy/services`."""

import sys

from deploy.private_services.command_line import main

sys.exit(main(sys.argv[1:]))
