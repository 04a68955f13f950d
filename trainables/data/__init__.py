"""Read files and hubs into the two types that all other code uses: benchmarks and training sets."""
