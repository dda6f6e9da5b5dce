"""lorawatch as a systemd service: survey the machine, plan as data, apply, and prove that the user has access."""
