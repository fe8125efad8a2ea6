"""Options of Synapse that mean nothing here, and why: an operator who brings a file learns what became of
each line."""

UNUSED = {
    "macaroon_secret_key": "tokens here are random and stored hashed; no secret signs them",
    "form_secret": "no form here needs it",
    "report_stats": "nothing is ever reported to anybody",
    "enable_registration_without_verification": "enable_registration alone opens registration; protect it "
    "with registration_requires_token",
    "log_config": "the log goes to standard error; log_level says how much",
    "pid_file": "the service manager knows the process",
    "suppress_key_server_warning": "there is no such warning",
    "bcrypt_rounds": "the cost of password hashing is fixed",
    "caches": "event_cache_size is the one cache to tune",
    "url_preview_enabled": "URL previews are not served yet",
    "stream_writers": "there is no routing to set up: any process serves any request",
    "instance_map": "there is no routing to set up: any process serves any request",
    "worker_app": "there is no routing to set up: any process serves any request",
    "worker_name": "there is no routing to set up: any process serves any request",
}
