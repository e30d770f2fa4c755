"""Character cards of other programs, as characters here and back again."""
