"""Training: the loop, what stops it, and what is measured on the way."""
