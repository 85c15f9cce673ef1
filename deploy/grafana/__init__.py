"""Grafana dashboards: `python -m deploy.grafana` writes the JSON files beside this one from `dashboards.py`."""
