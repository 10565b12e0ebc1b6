"""The frozen base in memory once, adapters as vectors, local training and evaluation. The only layer with torch."""
