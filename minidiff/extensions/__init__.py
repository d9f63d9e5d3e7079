"""What stands beside the core: one idea a file, written against the core's interfaces. The core never imports it, its files never import one another."""
