"""One module for one command; the only place that parses arguments or prints."""
