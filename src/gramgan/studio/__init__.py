"""`gramgan studio`: a page on this machine that shows what the command line does, by the same functions."""
