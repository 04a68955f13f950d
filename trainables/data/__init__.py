"""Files and hubs to the two data types used everywhere: benchmarks and training sets."""
