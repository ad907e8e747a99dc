"""Fixed stations: from their rows in a file to maps that know how sure they are."""
