"""Self-contained HTML pages, plots and picture strips: how runs, evaluations and databases are shown."""
