"""For whatever serves models: which model answers a request, its verified bytes, and how it did. No SQL, no Prefect."""
