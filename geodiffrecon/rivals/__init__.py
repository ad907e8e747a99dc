"""Other ways to make the same maps, to be compared with."""
