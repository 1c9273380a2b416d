"""Where models lie on a machine, a file for each kind of place."""
