"""The plan of the house, as a test: who may import whom."""
