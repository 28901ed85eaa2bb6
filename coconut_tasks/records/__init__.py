"""What is kept of earlier runs in the state folder."""
