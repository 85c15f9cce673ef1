"""The thin controller: Service, Configuration, Revision, Route, ServerlessService; one file per resource."""
