"""A part of Go's text/template: what operators of Knative write into `logging.request-log-template`.

`template.Template(text)` compiles once, its `render(data)` runs that. Imported only where a template is configured.
"""
