"""`paceline board`: a study live in a browser of this machine, from its folder."""
