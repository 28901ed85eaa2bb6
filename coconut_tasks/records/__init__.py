"""What the state folder keeps from earlier runs."""
