"""The demonstration behind `deploy/demo`: a real daemon is killed with SIGKILL in the middle of its work.

`command_line` reads the options; `story` tells what happens, act by act, with the parts: `stage` (folder, settings,
workflow), `orders` (what is ordered and how each order must end), `daemon_process`, `deliveries` (who sends and who
reviews), `watching` (follows the event log), `screen` (shows it), `checks` (what is proved in the end).
"""
