"""Files in and out: whole or not at all, missing never a number."""
