"""What the HTTP API says, as records with the wire's names: the service writes them, the client reads them.

`records` has jobs, artifacts, promotions and cards, `reading` what else can be read, `asking` what the writes take, `executing` what
executors of jobs say and hear, `states` problems and probes. The names of a job, an artifact and a promotion are those of the service this
one replaces (DESIGN §10); more may be added, none may change. How they are sent lives in `http_api`, how they are asked for in `client`.
"""
