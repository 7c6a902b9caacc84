"""HTTP: what the daemon offers to programs. `app.create_app` makes it of a running daemon."""
